"""The cost of opening a file: segments, chunks and blocks in front of the pixels, which Pillow walks in Python.

Each walk takes a part of what Pillow would take, and ends as soon as the limit is passed. Seconds are twice what Pillow 12 was
seen to take on an Intel Xeon with AMX.
"""
from __future__ import annotations

import re

from sparkq.images.decode_meter import DecodeMeter
from sparkq.images.tag_directory import add_directories

__all__ = ["add_opening"]

_PIECE_SECONDS, _JUNK_SECONDS = 4e-6, 0.8e-6
# Pillow joins the segments of EXIF one by one, and a GIF's comments block by block: each time all that was there is copied.
_JOINED_BYTE_SECONDS = 1e-9
_PIECE_BYTES, _COPIES = 150, 3

_MARKER = re.compile(rb"\xff[^\0\xff]")
_EXIF, _MPF = b"Exif\0\0", b"MPF\0"
_START_OF_SCAN, _TABLES_OF_QUANTIZATION = 0xDA, 0xDB
_SEGMENTLESS = (*range(0xD0, 0xDA), 0xC8, *range(0xF0, 0xFE))
_FRAMES = (0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xDE)
_TABLE_BYTE_SECONDS, _FRAME_BYTE_MEMORY = 0.3e-6, 30

_GIF_BLOCK = re.compile(b"[!,;]")
_GIF_BLOCK_SECONDS = 0.3e-6
_COMMENT, _GIF_HEADER = 0xFE, 13

# Pillow inflates a profile or text up to this size; deflate makes at most 1032 bytes of one; text may have 4 bytes a character.
_INFLATED_LIMIT, _INFLATED_BY, _INFLATE_SECONDS, _CHARACTER_BYTES = 2**20, 1032, 2e-9, 4
_PNG_HEADER = 8


def add_opening(meter: DecodeMeter, file: bytes | memoryview) -> None:
    """Add what Pillow takes to open a file; of a file of another format, nothing.

    Raises
    ------
    ImageError
        ``decode_too_costly`` or ``image_too_large``.
    """
    # Arrow's buffers give signed bytes.
    data = memoryview(file).cast("B")
    start = bytes(data[:4])
    if start.startswith(b"\xff\xd8\xff"):
        _add_segments(meter, data)
    elif start == b"\x89PNG":
        _add_chunks(meter, data)
    elif start == b"GIF8":
        _add_blocks(meter, data)
    elif start in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        add_directories(meter, data, what="this TIFF")


def _add_segments(meter: DecodeMeter, data: memoryview) -> None:
    """A JPEG's, up to the first scan."""
    what, place, exif_bytes, exif = "the segments of this JPEG", 2, 0, []
    while (found := _MARKER.search(data, place)) is not None:
        marker, skipped, place = data[found.start() + 1], found.start() - place, found.end()
        meter.add(what, seconds=_PIECE_SECONDS + _JUNK_SECONDS * skipped)
        if marker in _SEGMENTLESS:
            continue
        length = int.from_bytes(data[place:place + 2], "big")
        if marker == _START_OF_SCAN or marker < 0xC0 or length < 2:
            break
        body, place = data[place + 2:place + length], place + length
        if marker in _FRAMES or marker == _TABLES_OF_QUANTIZATION:
            meter.add(what, seconds=_TABLE_BYTE_SECONDS * length, memory_bytes=_FRAME_BYTE_MEMORY * length)
            continue
        meter.add(what, memory_bytes=_PIECE_BYTES + _COPIES * length)
        if marker == 0xE1 and bytes(body[:len(_EXIF)]) == _EXIF:
            exif_bytes += length
            meter.add(what, seconds=_JOINED_BYTE_SECONDS * exif_bytes)
            exif.append(body[len(_EXIF):])
        elif marker == 0xE2 and bytes(body[:len(_MPF)]) == _MPF:
            add_directories(meter, body[len(_MPF):], what="this JPEG")
    if exif:
        add_directories(meter, exif[0] if len(exif) == 1 else memoryview(b"".join(exif)), what="this JPEG")


def _add_chunks(meter: DecodeMeter, data: memoryview) -> None:
    """A PNG's, before and behind its pixels."""
    what, place = "the chunks of this PNG", _PNG_HEADER
    while place + 8 <= len(data):
        length, kind = int.from_bytes(data[place:place + 4], "big"), bytes(data[place + 4:place + 8])
        if kind == b"IEND" or not kind.isalnum():
            break
        inflated = min(_INFLATED_LIMIT, _INFLATED_BY * length) if kind in (b"iCCP", b"zTXt", b"iTXt") else 0
        copied = 0 if kind == b"IDAT" else _PIECE_BYTES + _COPIES * min(length, len(data))
        if kind != b"iCCP":
            copied += _CHARACTER_BYTES * inflated
        meter.add(what, seconds=_PIECE_SECONDS + _INFLATE_SECONDS * inflated, memory_bytes=copied)
        place += 12 + length


def _add_blocks(meter: DecodeMeter, data: memoryview) -> None:
    """A GIF's, up to the first frame."""
    what = "the blocks of this GIF"
    flags = data[10] if len(data) > 10 else 0
    place = _GIF_HEADER + ((3 << (flags & 7) + 1) if flags & 0x80 else 0)
    comment = 0
    while (found := _GIF_BLOCK.search(data, place)) is not None and data[found.start()] == 0x21:
        meter.add(what, seconds=_PIECE_SECONDS + _JUNK_SECONDS * (found.start() - place))
        is_comment = data[found.end():found.end() + 1] == bytes([_COMMENT])
        place = found.end() + 1
        while place < len(data) and (length := data[place]):
            place += 1 + length
            comment += length if is_comment else 0
            meter.add(
                what, seconds=_GIF_BLOCK_SECONDS + (_JOINED_BYTE_SECONDS * comment if is_comment else 0),
                memory_bytes=_COPIES * length if is_comment else 0,
            )
        place += 1
