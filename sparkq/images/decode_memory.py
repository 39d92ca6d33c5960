"""The memory that decoding an image will take, known from its header: Pillow itself has no limit in bytes.

Bytes a pixel as Pillow 12 was seen to take them; in `tests/images/test_decode_memory.py` they are compared with a process's peak.
"""
from __future__ import annotations

from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from sparkq.images.coded_image import CodedImage

__all__ = ["decoding_bytes"]

# Pillow's own pixels, by mode; 4 for all others (RGB is stored as RGBX).
_STORED = {"1": 1, "L": 1, "P": 1, "LA": 4, "I;16": 2, "I;16L": 2, "I;16B": 2}
_RGB = 4
# Of its two frames, the bytes that Pillow makes of one, and its own pixels, libwebp and Pillow hold all at once.
_WEBP = 16
# What 16-bit gray takes on its way to 8 bits, in NumPy.
_SIXTEEN_BITS = 4
_COEFFICIENT_BYTES = 2
# Run-length coded BMPs are decoded to a bytearray that may skip 255 rows at once, and are copied twice.
_RUN_LENGTH_COPIES, _SKIPPED_ROWS = 3, 256
# A TIFF's plain strips and tiles are Python objects; all others are decoded by libtiff into a buffer of one of them.
_PIECE_BYTES = 700
_ORIENTATION = 0x0112


def decoding_bytes(coded: CodedImage) -> int:
    """Bytes that decoding an image to RGB takes beside the file's own."""
    mode = coded.image.mode
    if coded.image.format == "WEBP":
        return _WEBP * coded.pixels
    stored = _STORED.get(mode, 4)
    if mode == "RGB":
        each = stored
    elif mode in ("P", "PA"):
        each = stored + 2 * _RGB
    elif mode.startswith("I"):
        each = stored + _SIXTEEN_BITS + _RGB
    else:
        each = stored + _RGB
    return (each + (_RGB if _is_turned(coded.image) else 0)) * coded.pixels + _buffers(coded)


def _buffers(coded: CodedImage) -> int:
    """Bytes that the decoder takes beside the pixels."""
    if coded.is_jpeg:
        # libjpeg keeps the coefficients of the whole file, at full scale, where they come in several scans (progressive JPEGs).
        return int(_COEFFICIENT_BYTES * coded.samples_a_pixel * coded.real_pixels) if coded.has_scans else 0
    if coded.pieces is not None:
        return _PIECE_BYTES * coded.pieces.count if coded.pieces.is_plain else coded.pieces.buffer_bytes
    if coded.is_run_length_coded:
        return _RUN_LENGTH_COPIES * (coded.pixels + _SKIPPED_ROWS * coded.image.width)
    return 0


def _is_turned(image: Image.Image) -> bool:
    """Whether it may be stored rotated, and is then copied once more. Not asked of Pillow, which would load a PNG to tell."""
    if isinstance(image, TiffImageFile):
        return bool(image.tag_v2.get(_ORIENTATION, 1) != 1)
    return "exif" in image.info
