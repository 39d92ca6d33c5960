"""Pixels of the structs that Spark's own ``image`` data source makes."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from sparkq.config import DEFAULT_MAX_IMAGE_PIXELS
from sparkq.errors import ImageError

__all__ = ["decode_image_struct"]

# OpenCV's type numbers, as Spark's image source writes them.
_CV_8UC1, _CV_8UC3, _CV_8UC4 = 0, 16, 24
_STRUCT_CHANNELS = {_CV_8UC1: 1, _CV_8UC3: 3, _CV_8UC4: 4}


def decode_image_struct(
    image: Mapping[str, Any] | None, *, max_image_pixels: int = DEFAULT_MAX_IMAGE_PIXELS,
) -> npt.NDArray[np.uint8]:
    """Pixels of one row of Spark's ``image`` data source.

    Parameters
    ----------
    image : mapping
        ``height``, ``width``, ``nChannels``, ``mode`` (OpenCV type) and ``data`` (BGR, row by row).
    max_image_pixels : int
        More pixels are an error.

    Returns
    -------
    ndarray of uint8 [height, width, 3]
        RGB.

    Raises
    ------
    ImageError
        With one of `sparkq.images.decode.ERROR_CODES`.
    """
    if image is None or image["data"] is None:
        raise ImageError("missing_content", "the image struct is null; expected pixels")
    height, width, mode, data = image["height"], image["width"], image["mode"], image["data"]
    channels = _STRUCT_CHANNELS.get(mode)
    if channels is None or channels != image["nChannels"]:
        raise ImageError(
            "unsupported_image",
            f"expected an image struct of mode 0, 16 or 24 (8-bit, 1, 3 or 4 channels); got mode {mode} with "
            f"{image['nChannels']} channels, which Spark also writes for files that it could not decode",
        )
    if height is None or width is None:
        raise ImageError("corrupt_image", f"expected an image struct with height and width; got {height} and {width}")
    if height * width > max_image_pixels:
        raise ImageError("image_too_large", f"{width} x {height} pixels; expected at most {max_image_pixels} in all")
    if height < 1 or width < 1 or len(data) != height * width * channels:
        raise ImageError("corrupt_image", f"expected {height} x {width} x {channels} bytes; got {len(data)}")
    pixels = np.frombuffer(data, np.uint8).reshape(height, width, channels)
    if channels == 1:
        return np.repeat(pixels, 3, axis=2)
    return np.ascontiguousarray(pixels[:, :, 2::-1])
