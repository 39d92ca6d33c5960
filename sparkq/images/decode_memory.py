"""The memory that decoding an image will take, known from its header: Pillow itself has no limit in bytes.

Bytes a pixel as Pillow 12 was seen to take them; in `tests/images/test_decode_memory.py` they are compared with a process's peak.
"""
from __future__ import annotations

from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from sparkq.images.tiff_pieces import tiff_pieces

__all__ = ["decoding_bytes", "has_scans", "is_run_length_coded", "samples_a_pixel"]

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
_START_OF_SCAN, _FIRST_SEGMENT = 0xDA, 2


def decoding_bytes(image: Image.Image, data: bytes | memoryview, *, real_pixels: int) -> int:
    """Bytes that decoding `image` to RGB takes beside the file's own.

    Parameters
    ----------
    image : Image
        Opened, not loaded; a JPEG after `draft`.
    data : bytes or memoryview
        The file.
    real_pixels : int
        Of the file, where `image` is to be decoded at reduced scale.
    """
    pixels = image.width * image.height
    if image.format == "WEBP":
        return _WEBP * pixels
    stored = _STORED.get(image.mode, 4)
    if image.mode == "RGB":
        each = stored
    elif image.mode in ("P", "PA"):
        each = stored + 2 * _RGB
    elif image.mode.startswith("I"):
        each = stored + _SIXTEEN_BITS + _RGB
    else:
        each = stored + _RGB
    whole = (each + (_RGB if _is_turned(image) else 0)) * pixels
    return whole + _buffers(image, data, real_pixels)


def _buffers(image: Image.Image, data: bytes | memoryview, real_pixels: int) -> int:
    """What the decoder takes beside the pixels."""
    if image.format in ("JPEG", "MPO"):
        return _coefficients(image, data, real_pixels)
    if isinstance(image, TiffImageFile):
        pieces = tiff_pieces(image)
        return _PIECE_BYTES * pieces.count if pieces.is_plain else pieces.buffer_bytes
    if is_run_length_coded(image):
        return _RUN_LENGTH_COPIES * (image.width * image.height + _SKIPPED_ROWS * image.width)
    return 0


def is_run_length_coded(image: Image.Image) -> bool:
    """Whether it is a BMP that Pillow decodes in Python, run by run."""
    return any(tile[0] == "bmp_rle" for tile in getattr(image, "tile", []))


def _is_turned(image: Image.Image) -> bool:
    """Whether it may be stored rotated, and is then copied once more. Not asked of Pillow, which would load a PNG to tell."""
    if isinstance(image, TiffImageFile):
        return bool(image.tag_v2.get(_ORIENTATION, 1) != 1)
    return "exif" in image.info


def _coefficients(image: Image.Image, data: bytes | memoryview, real_pixels: int) -> int:
    """libjpeg keeps the coefficients of the whole file, at full scale, where they come in several scans (progressive JPEGs)."""
    return int(_COEFFICIENT_BYTES * samples_a_pixel(image) * real_pixels) if has_scans(image, data) else 0


def samples_a_pixel(image: Image.Image) -> float:
    """Samples a pixel of a JPEG, after subsampling: 1.5 for 4:2:0."""
    layers: list[tuple[int, int, int, int]] = getattr(image, "layer", [])
    widest, highest = max((layer[1] for layer in layers), default=1), max((layer[2] for layer in layers), default=1)
    return sum(layer[1] * layer[2] for layer in layers) / max(widest * highest, 1)


def has_scans(image: Image.Image, data: bytes | memoryview) -> bool:
    """Whether a JPEG is decoded in several scans over its pixels."""
    layers = getattr(image, "layer", [])
    return bool(layers) and ("progressive" in image.info or _components_of_first_scan(data) < len(layers))


def _components_of_first_scan(file: bytes | memoryview) -> int:
    # Arrow's buffers give signed bytes.
    data = memoryview(file).cast("B")
    place = _FIRST_SEGMENT
    while place + 4 < len(data):
        if data[place] != 0xFF:
            break
        if data[place + 1] == 0xFF:  # a fill byte
            place += 1
        elif data[place + 1] == _START_OF_SCAN:
            return data[place + 4]
        else:
            place += 2 + int.from_bytes(data[place + 2:place + 4], "big")
    return 0
