"""Bring an image of any size to the model's input size, in 8-bit pixels with Pillow.

The same pixels as torchvision's transforms on Pillow images (``Resize``, ``CenterCrop``): to the bit without a crop, a
level off here and there with one, because only what the crop shows is computed. Images that shrink to less than a sixth
are first averaged over whole blocks, JPEGs by the decoder; these may differ by more. Normalization is not done here: it
is the first thing in the payload's graph.
"""
from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from sparkq.config import PIXEL_LIMIT_ONLY, DecodeLimits, PreprocessConfig
from sparkq.images.decode import open_image
from sparkq.images.spark_struct import decode_image_struct

__all__ = ["ImageGeometry", "image_geometry", "preprocess_array", "preprocess_content", "preprocess_with_geometry"]

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_FILTER_REACH = 2
# Pillow takes the box in float32: far out, that does not even tell two pixels apart, so what lies out of the filter's reach
# is cut off first. Below, the copy is not worth it.
_LONGEST_SIDE = 2048
# Images that are to shrink more than 3 times 2 are first averaged over whole blocks: "close to fair resampling" (Pillow).
_REDUCING_GAP = 3.0


@dataclass(frozen=True)
class ImageGeometry:
    """Which part of the upright original the model's input shows, and at which scale.

    The point (x, y) of the input, in pixels from its left and upper edge, is the point ``(x + left) * width / resized_width,
    (y + top) * height / resized_height`` of the original.

    Parameters
    ----------
    height, width : int
        Size of the original, in pixels.
    resized_height, resized_width : int
        Of all of it at the input's scale, in pixels.
    top, left : int
        Where in that the input begins, in pixels.
    """

    height: int
    width: int
    resized_height: int
    resized_width: int
    top: int
    left: int

    def to_original(self, corners: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Boxes (x_min, y_min, x_max, y_max, float32 [B, 4]) in pixels of the input as boxes in the original, within it."""
        scale = self.width / self.resized_width, self.height / self.resized_height
        moved = (corners.astype(np.float64) + (self.left, self.top, self.left, self.top)) * (*scale, *scale)
        return moved.clip(0, (self.width, self.height, self.width, self.height)).astype(np.float32)


def image_geometry(height: int, width: int, preprocess: PreprocessConfig) -> ImageGeometry:
    """Where an image of this size (in pixels, upright) lies in the model's input."""
    resized_height, resized_width = _resized_size(height, width, preprocess)
    crop_height, crop_width = preprocess.input_size
    # torchvision's CenterCrop; Python's round goes to the even number at .5, as there.
    top, left = round((resized_height - crop_height) / 2), round((resized_width - crop_width) / 2)
    return ImageGeometry(height, width, resized_height, resized_width, top, left)


def preprocess_content(
    content: bytes | memoryview | Mapping[str, Any] | None, preprocess: PreprocessConfig, *,
    limits: DecodeLimits = PIXEL_LIMIT_ONLY,
) -> npt.NDArray[np.uint8]:
    """Decode, resize and crop one image.

    Parameters
    ----------
    content : bytes, memoryview or mapping
        An encoded image, or a row of Spark's image source.
    preprocess : PreprocessConfig
        Sizes and filter.
    limits : DecodeLimits
        A larger image is an error.

    Returns
    -------
    ndarray of uint8 [height, width, 3]
        RGB at ``preprocess.input_size``.

    Raises
    ------
    ImageError
        If it cannot be decoded; see `sparkq.error_codes.ErrorCode`.
    """
    return preprocess_with_geometry(content, preprocess, limits=limits)[0]


def preprocess_with_geometry(
    content: bytes | memoryview | Mapping[str, Any] | None, preprocess: PreprocessConfig, *,
    limits: DecodeLimits = PIXEL_LIMIT_ONLY,
) -> tuple[npt.NDArray[np.uint8], ImageGeometry]:
    """Do as `preprocess_content`, and tell where the pixels lie in the original."""
    if isinstance(content, Mapping):
        pixels = decode_image_struct(content, limits=limits)
        geometry = image_geometry(pixels.shape[0], pixels.shape[1], preprocess)
        return _resize_and_crop(Image.fromarray(pixels), geometry, preprocess), geometry
    size = preprocess.resize.size
    enough = size if isinstance(size, tuple) else (size, size)
    image, real_size = open_image(content, limits=limits, enough=enough)
    geometry = image_geometry(*real_size, preprocess)
    return _resize_and_crop(image, geometry, preprocess), geometry


def preprocess_array(image: npt.NDArray[np.uint8], preprocess: PreprocessConfig) -> npt.NDArray[np.uint8]:
    """Resize and crop one decoded image, uint8 [H, W, 3] RGB; returns uint8 at ``preprocess.input_size``."""
    return _resize_and_crop(Image.fromarray(image), image_geometry(image.shape[0], image.shape[1], preprocess), preprocess)


def _resized_size(height: int, width: int, preprocess: PreprocessConfig) -> tuple[int, int]:
    size = preprocess.resize.size
    if isinstance(size, tuple):
        return size
    # torchvision's _compute_resized_output_size: the longer side is cut to a whole number, not rounded.
    if height <= width:
        return size, int(size * width / height)
    return int(size * height / width), size


def _resize_and_crop(
    image: Image.Image, geometry: ImageGeometry, preprocess: PreprocessConfig,
) -> npt.NDArray[np.uint8]:
    height, width = geometry.resized_height, geometry.resized_width
    crop_height, crop_width = preprocess.input_size
    if (height, width) == (crop_height, crop_width):
        if image.size == (width, height):
            return np.asarray(image)
        return np.asarray(image.resize((width, height), _FILTERS[preprocess.interpolation], reducing_gap=_REDUCING_GAP))
    top, left = geometry.top, geometry.left
    if image.size == (width, height):
        return np.asarray(image.crop((left, top, left + crop_width, top + crop_height)))
    columns = _source_of(left, crop_width, image.width / width, image.width)
    rows = _source_of(top, crop_height, image.height / height, image.height)
    if _longest_once_reduced(columns, crop_width, rows, crop_height, image) > _LONGEST_SIDE:
        image = image.crop((columns.first, rows.first, columns.last, rows.last))
        columns, rows = columns.from_first(), rows.from_first()
    return np.asarray(image.resize(
        (crop_width, crop_height), _FILTERS[preprocess.interpolation], box=(columns.start, rows.start, columns.end, rows.end),
        reducing_gap=_REDUCING_GAP,
    ))


def _longest_once_reduced(columns: _Source, width: int, rows: _Source, height: int, image: Image.Image) -> float:
    """The longest side once Pillow has averaged blocks of the box, as it first does with a large image; no copy is needed."""
    factors = (max(1, int(source.length / size / _REDUCING_GAP)) for source, size in ((columns, width), (rows, height)))
    return max(side / factor for side, factor in zip(image.size, factors, strict=True))


@dataclass(frozen=True)
class _Source:
    """Where resized pixels lie in the source, and between which whole pixels lies what they depend on."""

    first: int
    last: int
    start: float
    end: float

    @property
    def length(self) -> float:
        return self.end - self.start

    def from_first(self) -> _Source:
        return _Source(0, self.last - self.first, self.start - self.first, min(self.end - self.first, self.last - self.first))


def _source_of(start: int, length: int, scale: float, limit: int) -> _Source:
    reach = _FILTER_REACH * max(scale, 1) + 1
    first, last = max(0, math.floor(start * scale - reach)), min(limit, math.ceil((start + length) * scale + reach))
    return _Source(first, last, start * scale, min((start + length) * scale, limit))
