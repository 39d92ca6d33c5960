"""Boxes found in the model's input come back to where things are in the original, whatever became of it on the way."""
from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sparkq.config import PreprocessConfig, ResizeConfig
from sparkq.images.preprocess import image_geometry, preprocess_with_geometry

CONFIGS = {
    "squash": PreprocessConfig(resize=ResizeConfig("squash", (96, 128))),
    "crop": PreprocessConfig(resize=ResizeConfig("shorter_side", 128), crop=96),
    "wide crop": PreprocessConfig(resize=ResizeConfig("squash", 150), crop=(80, 140)),
}
SHAPES = [(96, 128), (480, 640), (640, 480), (37, 53), (1000, 120), (90, 900), (1500, 1000)]


def marked(height: int, width: int, box: tuple[int, int, int, int], orientation: int = 1, kind: str = "PNG") -> bytes:
    """A black image with a white rectangle, stored so that EXIF has to turn it upright."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[box[1]:box[3], box[0]:box[2]] = 255
    # What turns it back, EXIF 2.32: rotations by 180, 90 counter-clockwise and 90 clockwise, and mirrored ones.
    stored = {
        1: pixels, 2: pixels[:, ::-1], 3: pixels[::-1, ::-1], 4: pixels[::-1], 5: pixels.transpose(1, 0, 2),
        6: np.rot90(pixels, 1), 7: np.rot90(pixels, 2).transpose(1, 0, 2), 8: np.rot90(pixels, -1),
    }[orientation]
    exif, stream = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(stream, kind, exif=exif, **({"quality": 95} if kind == "JPEG" else {}))
    return stream.getvalue()


def bright(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Corners of what is white, float32 [1, 4]."""
    rows, columns = np.nonzero(pixels[..., 0] > 127)
    return np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], np.float32)


@pytest.mark.parametrize("preprocess", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize(("height", "width"), SHAPES)
@pytest.mark.parametrize(("orientation", "kind"), [(1, "PNG"), (1, "JPEG"), *((turn, "JPEG") for turn in range(2, 9))])
def test_a_rectangle_comes_back_where_it_was(
    height: int, width: int, orientation: int, kind: str, preprocess: PreprocessConfig,
) -> None:
    """To a pixel of the input at its scale; the middle half of each side is in every crop of these shapes."""
    shorter = min(height, width)
    box = (
        width // 2 - shorter // 4, height // 2 - shorter // 8, width // 2 + shorter // 6, height // 2 + shorter // 5,
    )
    pixels, geometry = preprocess_with_geometry(marked(height, width, box, orientation, kind), preprocess)
    found = geometry.to_original(bright(pixels))[0]
    scale = np.array([width / geometry.resized_width, height / geometry.resized_height] * 2)
    assert np.all(np.abs(found - box) <= 0.51 * scale + 0.51), (found, box)


@given(
    st.integers(1, 5000), st.integers(1, 5000), st.sampled_from(list(CONFIGS.values())),
    st.tuples(*[st.floats(-1e6, 1e6, width=32)] * 4),
)
@settings(max_examples=200, deadline=None)
def test_corners_never_leave_the_original(
    height: int, width: int, preprocess: PreprocessConfig, corners: tuple[float, ...],
) -> None:
    """And the input's own corners are those of what it shows."""
    geometry = image_geometry(height, width, preprocess)
    x_min, y_min, x_max, y_max = geometry.to_original(np.array([corners], np.float32))[0]
    assert 0 <= min(x_min, x_max) and max(x_min, x_max) <= width and 0 <= min(y_min, y_max) and max(y_min, y_max) <= height
    rows, columns = preprocess.input_size
    shown = geometry.to_original(np.array([[0, 0, columns, rows]], np.float32))[0]
    share = np.array([columns / geometry.resized_width, rows / geometry.resized_height])
    np.testing.assert_allclose((shown[2:] - shown[:2]) / (width, height), np.minimum(share, 1), atol=0.51 / min(rows, columns))
