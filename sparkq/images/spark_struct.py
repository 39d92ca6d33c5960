"""Decode the structs that Spark's own ``image`` data source makes."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from sparkq.config import PIXEL_LIMIT_ONLY, DecodeLimits
from sparkq.error_codes import ErrorCode
from sparkq.errors import ImageError

__all__ = ["decode_image_struct"]

# OpenCV's type numbers, as Spark's image source writes them.
_CV_8UC1, _CV_8UC3, _CV_8UC4 = 0, 16, 24
_STRUCT_CHANNELS = {_CV_8UC1: 1, _CV_8UC3: 3, _CV_8UC4: 4}


def decode_image_struct(image: Mapping[str, Any] | None, *, limits: DecodeLimits = PIXEL_LIMIT_ONLY) -> npt.NDArray[np.uint8]:
    """Take the pixels out of one row of Spark's ``image`` data source.

    Parameters
    ----------
    image : mapping
        ``height``, ``width``, ``nChannels``, ``mode`` (OpenCV type) and ``data`` (BGR, row by row).
    limits : DecodeLimits
        More pixels than ``max_image_pixels`` are an error. The bytes are decoded already, so nothing else is limited.

    Returns
    -------
    ndarray of uint8 [height, width, 3]
        RGB.

    Raises
    ------
    ImageError
        If it holds no such pixels; see `sparkq.error_codes.ErrorCode`.
    """
    if image is None or image["data"] is None:
        raise ImageError(ErrorCode.MISSING_CONTENT, "the image struct is null; expected pixels")
    height, width, mode, data = image["height"], image["width"], image["mode"], image["data"]
    channels = _STRUCT_CHANNELS.get(mode)
    if channels is None or channels != image["nChannels"]:
        raise ImageError(
            ErrorCode.UNSUPPORTED_IMAGE,
            f"expected an image struct of mode 0, 16 or 24 (8-bit, 1, 3 or 4 channels); got mode {mode} with "
            f"{image['nChannels']} channels, which Spark also writes for files that it could not decode",
        )
    if height is None or width is None:
        raise ImageError(ErrorCode.CORRUPT_IMAGE, f"expected an image struct with height and width; got {height} and {width}")
    if height * width > limits.max_image_pixels:
        raise ImageError(
            ErrorCode.IMAGE_TOO_LARGE,
            f"{width} x {height} pixels; expected at most {limits.max_image_pixels} in all (max_image_pixels)",
        )
    if height < 1 or width < 1 or len(data) != height * width * channels:
        raise ImageError(ErrorCode.CORRUPT_IMAGE, f"expected {height} x {width} x {channels} bytes; got {len(data)}")
    pixels = np.frombuffer(data, np.uint8).reshape(height, width, channels)
    if channels == 1:
        return np.repeat(pixels, 3, axis=2)
    return np.ascontiguousarray(pixels[:, :, 2::-1])
