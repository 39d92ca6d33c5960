"""Contact sheets: many images on one picture."""
from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

import sparkq
from sparkq.drawing.lettering import font_of, shortened, wrapped
from sparkq.errors import ConfigError, InputError

RED, BLUE, ORANGE = (255, 0, 0), (0, 0, 255), (230, 159, 0)


def flat(height: int, width: int, colour: tuple[int, int, int]) -> np.ndarray:
    """One colour."""
    return np.full((height, width, 3), colour, np.uint8)


def test_images_of_all_shapes_stand_in_a_grid_each_in_its_square() -> None:
    """Row by row, whole, in their own proportions."""
    sheet = sparkq.contact_sheet([flat(50, 100, RED), flat(300, 10, BLUE), flat(4, 4, RED)], columns=2, thumbnail_pixels=64)
    assert sheet.dtype == np.uint8 and sheet.shape == (8 + 2 * (64 + 8 + 8), 8 + 2 * (64 + 8), 3)
    red = (sheet == RED).all(2)
    assert red[8:72, 8:72].sum() == 32 * 64 and red[88:152, 8:72].sum() == 64 * 64
    assert (sheet == BLUE).all(2)[8:72, 80:144].sum() == 64 * 2
    # One image is a sheet of one column.
    assert sparkq.contact_sheet([flat(9, 9, RED)], thumbnail_pixels=64).shape[1] == 64 + 16


def test_missing_and_broken_images_have_a_frame_that_says_so() -> None:
    """A sheet of errors is what it is for; both are told apart."""
    sheet = sparkq.contact_sheet([None, b"no picture", b""], columns=3, thumbnail_pixels=100)
    frames = [sheet[8:108, left:left + 100] for left in (8, 116, 224)]
    assert all((frame < 90).all(2).sum() > 30 for frame in frames)
    assert not np.array_equal(frames[0], frames[1]) and not np.array_equal(frames[1], frames[2])


def test_boxes_are_given_in_pixels_of_the_image_and_drawn_on_its_thumbnail() -> None:
    """Also where the decoder reduced a JPEG already."""
    stream = io.BytesIO()
    Image.fromarray(flat(800, 1600, BLUE)).save(stream, "JPEG", quality=100)
    box = {"label": 0, "x_min": 800, "y_min": 400, "x_max": 1600, "y_max": 800}
    for image in (stream.getvalue(), flat(800, 1600, BLUE)):
        sheet = sparkq.contact_sheet([image], detections=[[box]], thumbnail_pixels=160)
        rows, columns = np.nonzero((sheet == ORANGE).all(2))
        # The square is 160 wide; the picture in it is 80 high, 40 below the square's top.
        assert (columns.min(), columns.max() + 1, rows.max() + 1) == (8 + 80, 8 + 160, 8 + 40 + 80)


def test_captions_stand_below_their_image_on_at_most_three_lines() -> None:
    """Longer ones end in dots; a sheet is only as high as its captions need."""
    images = [flat(9, 9, RED)] * 2
    heights = [
        sparkq.contact_sheet(images, [text, "b"], thumbnail_pixels=160).shape[0]
        for text in ("a", "a\nb", "s3://bucket/" + "very/long" * 9, "a\nb\nc\nd\ne")
    ]
    assert heights[0] < heights[1] < heights[2] == heights[3]
    below = sparkq.contact_sheet(images, ["a", ""], thumbnail_pixels=64)[72:]
    assert (below[:, :72] < 128).any() and (below[:, 72:] == 255).all()


def test_text_is_cut_at_spaces_else_within_words_and_never_lost() -> None:
    """Every line fits."""
    font = font_of(12)
    for text in ("the quick brown fox jumps over the lazy dog", "s3://bucket/a/rather/long/path/without/any/space.jpg"):
        lines = wrapped(text, font, 80, lines=99)
        assert len(lines) > 2 and all(font.getlength(line) <= 80 for line in lines)
        assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert wrapped("quick brown", font, 60, lines=9) == ["quick", "brown"]
    assert wrapped("one two three four five six seven", font, 60, lines=2)[-1].endswith("...")
    assert wrapped("x", font, 1, lines=3) == ["x"] and shortened("x", font, 100) == "x"


def test_what_does_not_fit_together_is_refused() -> None:
    """One caption and one list of boxes an image, at least one image and one column."""
    image = flat(9, 9, RED)
    with pytest.raises(InputError, match="at least one image"):
        sparkq.contact_sheet([])
    with pytest.raises(InputError, match="captions, one an image, 1; got 2"):
        sparkq.contact_sheet([image], ["a", "b"])
    with pytest.raises(InputError, match="detections, one an image, 1; got 0"):
        sparkq.contact_sheet([image], detections=[])
    for wrong in ({"columns": 0}, {"thumbnail_pixels": 0}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            sparkq.contact_sheet([image], **wrong)
