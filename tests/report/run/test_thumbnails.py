"""Small pictures: right, bounded, and said to be missing where they are."""
from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from sparkq.config import DecodeLimits
from sparkq.report.pictures import MAX_PICTURE_BYTES
from sparkq.report.run.rows import PickedRow
from sparkq.report.run.thumbnails import Thumbnail, thumbnails


def pixels(thumbnail: Thumbnail) -> npt.NDArray[np.uint8]:
    """What the uri shows."""
    assert thumbnail.uri is not None, thumbnail.failure
    head, _, data = thumbnail.uri.partition(",")
    assert head == "data:image/jpeg;base64"
    picture = Image.open(io.BytesIO(base64.b64decode(data)))
    assert (picture.format, picture.size) == ("JPEG", (thumbnail.width, thumbnail.height))
    return np.asarray(picture.convert("RGB"))


def row(path: Path | str | None, **values: object) -> PickedRow:
    return PickedRow(path=None if path is None else str(path), measure=0.5, **values)  # type: ignore[arg-type]


def test_upright_and_small(tmp_path: Path) -> None:
    """Of a photo that a phone took upright: 600 x 1200 pixels stored lying, red on top."""
    stored = np.zeros((600, 1200, 3), np.uint8)
    stored[:, :600] = (255, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(stored).save(tmp_path / "a b%20.jpg", quality=95, exif=exif)
    (thumbnail,) = thumbnails([row(f"file:{tmp_path}/a b%20.jpg")], limits=DecodeLimits())
    shown = pixels(thumbnail)
    assert shown.shape == (256, 128, 3)
    assert shown[20, 64, 0] > 200 > 60 > shown[230, 64, 0]


def test_order_and_failures(tmp_path: Path) -> None:
    """Each row has its own picture, also behind rows without."""
    for number, level in enumerate((40, 120, 200)):
        Image.new("RGB", (8, 8), (level, level, level)).save(tmp_path / f"{number}.png")
    (tmp_path / "text.jpg").write_bytes(b"<html>")
    rows = [
        row(tmp_path / "2.png"), row(None), row(tmp_path / "absent.png"), row(tmp_path / "0.png"), row(tmp_path / "text.jpg"),
        row("relative.png"), row(tmp_path / "1.png"),
    ]
    found = thumbnails(rows, limits=DecodeLimits())
    assert [int(pixels(found[place]).mean()) for place in (0, 3, 6)] == pytest.approx([200, 40, 120], abs=2)
    assert [found[place].failure for place in (1, 2, 4, 5)] == [
        "the rows have no path to open it by", "cannot be read any more: expected an object; got nothing there",
        "cannot be shown: expected one of JPEG, PNG, WEBP, GIF, BMP, TIFF; got bytes that begin with b'<html>'",
        "cannot be read any more: expected an absolute path or a uri, as workers have no common folder; got 'relative.png'",
    ]


def test_limits_are_the_runs(tmp_path: Path) -> None:
    """What was too large for a worker is too large here."""
    Image.new("RGB", (100, 100)).save(tmp_path / "a.png")
    for limits in ({"max_image_pixels": 9999}, {"max_image_bytes": 20}, {"max_decode_bytes": 1000}):
        (thumbnail,) = thumbnails([row(tmp_path / "a.png")], limits=DecodeLimits(**limits))
        assert thumbnail.uri is None and str(list(limits)[0]) in str(thumbnail.failure)


def test_noise_is_bounded(tmp_path: Path) -> None:
    """What no JPEG makes small: three sheets of such pictures are the most that a page can hold."""
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    (thumbnail,) = thumbnails([row(tmp_path / "noise.png")], limits=DecodeLimits())
    assert thumbnail.uri is not None and 10_000 < len(thumbnail.uri) < 4 * MAX_PICTURE_BYTES / 3 + 40
    assert 36 * 4 * MAX_PICTURE_BYTES / 3 < 1.8e6


def test_boxes_are_where_they_were(tmp_path: Path) -> None:
    """In pixels of the image as it is, on a picture an eighth of it."""
    Image.new("RGB", (2048, 1024), (128, 128, 128)).save(tmp_path / "a.jpg")
    detection = {
        "label": 1, "label_name": None, "score": None, "x_min": 800.0, "y_min": 400.0, "x_max": 1600.0, "y_max": 800.0,
    }
    (thumbnail,) = thumbnails([row(tmp_path / "a.jpg", detections=(detection,))], limits=DecodeLimits())
    shown = pixels(thumbnail).astype(int)
    assert shown.shape == (128, 256, 3)
    drawn = np.argwhere(np.abs(shown - 128).max(axis=2) > 60)
    below = drawn[drawn[:, 0] > 66]
    assert (below[:, 0].max(), drawn[:, 1].min(), drawn[:, 1].max()) == pytest.approx((100, 100, 200), abs=3)
    assert np.abs(shown[80:90, 140:160] - 128).max() < 10
