"""Boxes on an image: where they are drawn, in which colour, and what is refused."""
from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pyspark.sql import Row

import sparkq
from sparkq.errors import ImageError, InputError

ORANGE, SKY = (230, 159, 0), (86, 180, 233)


def detection(label: int, score: float, *box: float) -> dict[str, Any]:
    """As in a row."""
    names = ("x_min", "y_min", "x_max", "y_max")
    return {"label": label, "label_name": "ab"[label], "score": score, **dict(zip(names, box, strict=True))}


def coloured(picture: np.ndarray[Any, Any], colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """(x_min, y_min, x_max, y_max) of the pixels of that colour; x_max and y_max are past the last."""
    rows, columns = np.nonzero((picture == colour).all(2))
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def test_a_box_is_drawn_on_the_pixels_that_it_encloses_and_the_image_is_left_alone() -> None:
    """Its name stands inside, where there is no room above."""
    image = np.full((100, 150, 3), 128, np.uint8)
    picture = sparkq.draw_detections(image, [detection(0, 0.9, 20.0, 5.0, 120.0, 90.0)])
    assert picture.shape == image.shape and picture.dtype == np.uint8
    assert coloured(picture, ORANGE) == (20, 5, 120, 90)
    assert (image == 128).all() and (picture[0] == 128).all()
    # The middle of the box shows what the image shows.
    assert (picture[40:80, 30:110] == 128).all()


def test_boxes_below_the_score_are_left_out_and_the_best_lies_on_top() -> None:
    """In whichever order they come; a Row does as well as a dict."""
    image = np.zeros((200, 200, 3), np.uint8)
    worse, best = detection(1, 0.4, 20, 50, 100, 150), Row(**detection(0, 0.9, 22, 52, 102, 152))
    both = sparkq.draw_detections(image, [best, worse])
    np.testing.assert_array_equal(both, sparkq.draw_detections(image, [worse, best]))
    assert coloured(both, ORANGE)[2:] == (102, 152)
    np.testing.assert_array_equal(
        sparkq.draw_detections(image, [best, worse], minimum_score=0.5), sparkq.draw_detections(image, [best]),
    )


@pytest.mark.parametrize("nothing", [None, []], ids=["null", "empty"])
def test_without_boxes_the_image_comes_back(nothing: Any) -> None:
    """A row with an error has null instead of a list."""
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8)
    np.testing.assert_array_equal(sparkq.draw_detections(image, nothing), image)


def test_true_boxes_have_no_score_and_may_have_no_name() -> None:
    """Labelled boxes can be shown beside predicted ones; a colour belongs to a label whatever else is drawn."""
    image = np.zeros((60, 60, 3), np.uint8)
    bare = {"x_min": 10, "y_min": 10, "x_max": 50, "y_max": 50}
    assert sparkq.draw_detections(image, [bare], minimum_score=0.9).any()
    assert coloured(sparkq.draw_detections(image, [{**bare, "label": 8}]), SKY)[2:] == (50, 50)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_encoded_and_pillow_images_are_turned_upright_first(orientation: int) -> None:
    """Boxes are in pixels of the upright image."""
    stored = Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 60, 3)).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = io.BytesIO()
    stored.save(data, "PNG", exif=exif)
    boxes = [detection(0, 0.9, 5, 20, 30, 35)]
    expected = sparkq.draw_detections(sparkq.decode_image(data.getvalue()), boxes)
    assert expected.shape == ((40, 60, 3) if orientation < 5 else (60, 40, 3))
    np.testing.assert_array_equal(sparkq.draw_detections(data.getvalue(), boxes), expected)
    np.testing.assert_array_equal(sparkq.draw_detections(Image.open(data), boxes), expected)


@pytest.mark.parametrize("box", [(-50, -50, 500, 500), (300, 300, 400, 400), (10, 10, 10, 10), (-9, 5, -5, 8)])
def test_boxes_over_the_edge_and_of_no_area_are_drawn_as_far_as_they_can_be(box: tuple[float, ...]) -> None:
    """Also on images smaller than their names."""
    for size in ((100, 100, 3), (1, 1, 3), (3, 90, 3)):
        picture = sparkq.draw_detections(np.zeros(size, np.uint8), [detection(0, 0.9, *box)])
        assert picture.shape == size and picture.any()


def test_names_that_would_lie_on_each_other_move_apart() -> None:
    """Two boxes that nearly coincide: both names can be read."""
    image = np.zeros((200, 200, 3), np.uint8)
    picture = sparkq.draw_detections(image, [detection(0, 0.9, 50, 80, 150, 150), detection(1, 0.8, 51, 80, 150, 150)])
    above, inside = picture[68:78, 52:85], picture[84:94, 54:85]
    assert (above == ORANGE).all(2).mean() > 0.5 and (inside == SKY).all(2).mean() > 0.5


@pytest.mark.parametrize(("image", "shown"), [
    (np.zeros((5, 5), np.uint8), r"uint8 \[5, 5\]"), (np.zeros((5, 5, 3)), "float64"), (np.zeros((0, 5, 3), np.uint8), "0, 5"),
    ("photo.jpg", "str"),
])
def test_what_is_no_image_is_refused(image: Any, shown: str) -> None:
    """With what it is."""
    with pytest.raises(InputError, match=shown):
        sparkq.draw_detections(image, [])


def test_bytes_that_are_no_image_and_boxes_without_place_are_refused() -> None:
    """Each as what it is."""
    with pytest.raises(ImageError, match="expected one of JPEG"):
        sparkq.draw_detections(b"nothing", [])
    for wrong in ({**detection(0, 0.5, 1, 2, 3, 4), "x_max": float("nan")}, {"label": 1, "x_min": 3}):
        with pytest.raises(InputError, match="expected finite x_min"):
            sparkq.draw_detections(np.zeros((5, 5, 3), np.uint8), [wrong])
