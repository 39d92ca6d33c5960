"""`DecodeLimits`: how large an image may be before it becomes an error row."""
from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from sparkq.config.checks import check_positive

__all__ = [
    "DEFAULT_MAX_DECODE_BYTES", "DEFAULT_MAX_DECODE_SECONDS", "DEFAULT_MAX_IMAGE_BYTES", "DEFAULT_MAX_IMAGE_PIXELS",
    "PIXEL_LIMIT_ONLY", "DecodeLimits", "limits_among",
]

DEFAULT_MAX_IMAGE_PIXELS = 178_956_970
"""Where Pillow, too, stops believing that an image is honest: 1 GB of 24-bit RGB over 2 (``2 * Image.MAX_IMAGE_PIXELS``)."""

DEFAULT_MAX_IMAGE_BYTES = 64 * 2**20
"""Ten times the photographs of large cameras; what is larger is seldom an image, and would fill a worker."""

DEFAULT_MAX_DECODE_BYTES = 200 * 10**6
"""Beside ResNet-50 (450 MB), reads that wait and pixels that wait, a worker stays below 700 MB."""

DEFAULT_MAX_DECODE_SECONDS = 10
"""A photograph takes some hundredths of a second; what takes more than this was made to."""


@dataclass(frozen=True, kw_only=True)
class DecodeLimits:
    """How large an image may be, and how long its decoding may take. What is beyond a limit is never decoded.

    It is an error row: ``image_too_large``, or ``decode_too_costly`` where it is `max_decode_seconds`.

    Parameters
    ----------
    max_image_pixels : int
        Images with more pixels become error rows.
    max_image_bytes : int
        Files with more bytes become error rows; where workers read, they do not even read them.
    max_decode_bytes : int
        Images that take more memory while they are decoded, their file included, become error rows; judged by the header. By
        default about 45 megapixels of RGB in PNG, TIFF or BMP, 12 in WebP, 60 in progressive JPEG; other JPEGs are decoded at
        reduced scale and take hardly any. A TIFF's largest strip or tile counts, too.
    max_decode_seconds : int
        Images that take longer to decode become error rows; judged by what stands before the pixels (scans, tiles, segments), at
        half the speed of an Intel Xeon with AMX.
    """

    max_image_pixels: int = DEFAULT_MAX_IMAGE_PIXELS
    max_image_bytes: int = DEFAULT_MAX_IMAGE_BYTES
    max_decode_bytes: int = DEFAULT_MAX_DECODE_BYTES
    max_decode_seconds: int = DEFAULT_MAX_DECODE_SECONDS

    def __post_init__(self) -> None:
        for entry in fields(DecodeLimits):
            check_positive(entry.name, getattr(self, entry.name))


PIXEL_LIMIT_ONLY = DecodeLimits(max_image_bytes=sys.maxsize, max_decode_bytes=sys.maxsize, max_decode_seconds=sys.maxsize)
"""For whoever decodes an image that is in memory already, one at a time, as a driver does."""


def limits_among(settings: Mapping[str, Any]) -> DecodeLimits:
    """The limits among the settings of a job; a limit that is not there is the default one."""
    return DecodeLimits(**{entry.name: settings[entry.name] for entry in fields(DecodeLimits) if entry.name in settings})
