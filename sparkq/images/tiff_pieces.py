"""`TiffPieces`: the strips or tiles of a TIFF, which are decoded whole, also where the image is only a corner of one."""
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from PIL.TiffImagePlugin import TiffImageFile

__all__ = ["TiffPieces", "tiff_pieces"]

# TIFF 6.0, sections 8, 13 and 15.
_BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES = 258, 259, 262, 277
_STRIP_OFFSETS, _ROWS_PER_STRIP, _STRIP_BYTE_COUNTS = 273, 278, 279
_PLANAR, _TILE_WIDTH, _TILE_LENGTH, _TILE_OFFSETS, _TILE_BYTE_COUNTS = 284, 322, 323, 324, 325
_SEPARATE, _YCBCR, _JPEGS, _LZMA = 2, 6, (6, 7), 34925
_RGBA = 4
# libtiff decodes no more (LIBTIFF_JPEG_MAX_ALLOWED_SCAN_NUMBER).
_MOST_SCANS = 100


@dataclass(frozen=True)
class TiffPieces:
    """The strips or tiles of the first image of a TIFF.

    Parameters
    ----------
    count : int
        Pieces that are decoded one after the other.
    piece_bytes : int
        Decoded bytes of one.
    buffer_bytes : int
        Bytes that libtiff and Pillow keep while they decode one.
    is_plain : bool
        Whether Pillow copies them itself: nothing is compressed.
    is_lzma : bool
        Whether they are compressed so that decoding is slow.
    segments : tuple of (int, int)
        Offset and length of each stored JPEG; none where they are not JPEGs.
    """

    count: int
    piece_bytes: int
    buffer_bytes: int
    is_plain: bool
    is_lzma: bool
    segments: tuple[tuple[int, int], ...]

    def scans(self, data: bytes | memoryview) -> int:
        """The most scans that one of the JPEGs may have; 1 where there is none."""
        distinct = set(self.segments)
        if sum(length for _, length in distinct) > len(data):
            return _MOST_SCANS
        most = max((bytes(data[place:place + length]).count(b"\xff\xda") for place, length in distinct), default=1)
        return min(max(most, 1), _MOST_SCANS)


def tiff_pieces(image: TiffImageFile) -> TiffPieces:
    """The pieces of an opened TIFF, from its tags."""
    tags: Any = image.tag_v2
    # As stored, before it is turned.
    width, height = tags[256], tags[257]
    tiled = _STRIP_OFFSETS not in tags
    piece_width, piece_height = (tags.get(_TILE_WIDTH, width), tags.get(_TILE_LENGTH, height)) if tiled else (
        width, min(tags.get(_ROWS_PER_STRIP, height), height),
    )
    planes = tags.get(_SAMPLES, 1) if tags.get(_PLANAR, 1) == _SEPARATE else 1
    bits = tags.get(_BITS, (1,))
    pixel_bits = max(bits) * max(tags.get(_SAMPLES, 1), len(bits)) // planes
    compression = tags.get(_COMPRESSION, 1)
    is_plain = not image.use_load_libtiff
    offsets = tags.get(_TILE_OFFSETS if tiled else _STRIP_OFFSETS, ())
    count = math.ceil(width / piece_width) * math.ceil(height / piece_height) * planes
    if is_plain:
        # Pillow copies what is listed, each cut off at the image's edges.
        count, piece_width, piece_height = len(offsets), min(piece_width, width), min(piece_height, height)
    pixels = piece_width * piece_height
    piece_bytes = math.ceil(pixels * pixel_bits / 8)
    turned_to_rgba = compression in _JPEGS or tags.get(_PHOTOMETRIC) == _YCBCR
    byte_counts = tags.get(_TILE_BYTE_COUNTS if tiled else _STRIP_BYTE_COUNTS, ())
    return TiffPieces(
        count, piece_bytes, piece_bytes + (_RGBA * pixels if turned_to_rgba else 0), is_plain, compression == _LZMA,
        tuple(zip(offsets, byte_counts, strict=False)) if compression in _JPEGS else (),
    )
