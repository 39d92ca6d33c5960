"""From an image of any size to the model's input size, in 8-bit pixels with Pillow.

The same pixels as torchvision's transforms on Pillow images (``Resize``, ``CenterCrop``), except where a JPEG was
decoded at reduced scale. Normalization is not done here: it is the first thing in the payload's graph.
"""
from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from sparkq.config import DEFAULT_MAX_IMAGE_PIXELS, PreprocessConfig
from sparkq.images import decode_image_struct, open_image

__all__ = ["preprocess_array", "preprocess_content"]

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_MAX_ASPECT_RATIO = 16
_FILTER_REACH = 2


def preprocess_content(
    content: bytes | memoryview | Mapping[str, Any] | None, preprocess: PreprocessConfig, *,
    max_image_pixels: int = DEFAULT_MAX_IMAGE_PIXELS,
) -> npt.NDArray[np.uint8]:
    """Decode, resize and crop one image.

    Parameters
    ----------
    content : bytes, memoryview or mapping
        An encoded image, or a row of Spark's image source.
    preprocess : PreprocessConfig
        Sizes and filter.
    max_image_pixels : int
        More pixels are an error.

    Returns
    -------
    ndarray of uint8 [height, width, 3]
        RGB at ``preprocess.input_size``.

    Raises
    ------
    ImageError
        With one of ``sparkq.images.ERROR_CODES``.
    """
    if isinstance(content, Mapping):
        return preprocess_array(decode_image_struct(content, max_image_pixels=max_image_pixels), preprocess)
    size = preprocess.resize.size
    enough = size if isinstance(size, tuple) else (size, size)
    image, real_size = open_image(content, max_image_pixels=max_image_pixels, enough=enough)
    return _resize_and_crop(image, real_size, preprocess)


def preprocess_array(image: npt.NDArray[np.uint8], preprocess: PreprocessConfig) -> npt.NDArray[np.uint8]:
    """Resize and crop one decoded image, uint8 [H, W, 3] RGB; returns uint8 at ``preprocess.input_size``."""
    return _resize_and_crop(Image.fromarray(image), (image.shape[0], image.shape[1]), preprocess)


def _resized_size(height: int, width: int, preprocess: PreprocessConfig) -> tuple[int, int]:
    size = preprocess.resize.size
    if isinstance(size, tuple):
        return size
    # torchvision's _compute_resized_output_size: the longer side is cut to a whole number, not rounded.
    if height <= width:
        return size, int(size * width / height)
    return int(size * height / width), size


def _resize_and_crop(
    image: Image.Image, real_size: tuple[int, int], preprocess: PreprocessConfig,
) -> npt.NDArray[np.uint8]:
    height, width = _resized_size(*real_size, preprocess)
    crop_height, crop_width = preprocess.input_size
    # torchvision's CenterCrop; Python's round goes to the even number at .5, as there.
    top, left = round((height - crop_height) / 2), round((width - crop_width) / 2)
    resample = _FILTERS[preprocess.interpolation]
    if preprocess.resize.mode == "shorter_side" and max(height, width) > _MAX_ASPECT_RATIO * min(height, width):
        # A strip of 1 x 20 000 would grow to gigabytes before the crop. Pillow computes the same pixels from a box of
        # the source, but takes the box in float32, so that one may differ by one level: only where it must be.
        columns, x_start, x_end = _source_of(left, crop_width, image.width / width, image.width)
        rows, y_start, y_end = _source_of(top, crop_height, image.height / height, image.height)
        source = image.crop((columns[0], rows[0], columns[1], rows[1]))
        return np.asarray(source.resize((crop_width, crop_height), resample, box=(x_start, y_start, x_end, y_end)))
    if image.size != (width, height):
        image = image.resize((width, height), resample)
    if (height, width) != (crop_height, crop_width):
        image = image.crop((left, top, left + crop_width, top + crop_height))
    return np.asarray(image)


def _source_of(start: int, length: int, scale: float, limit: int) -> tuple[tuple[int, int], float, float]:
    """Pixels of the source that `length` resized pixels from `start` depend on, and where in them these lie."""
    # What lies out of the filter's reach is cut off first: far out, float32 does not even tell two pixels apart.
    reach = _FILTER_REACH * max(scale, 1) + 1
    first, last = max(0, math.floor(start * scale - reach)), min(limit, math.ceil((start + length) * scale + reach))
    return (first, last), start * scale - first, min((start + length) * scale - first, last - first)
