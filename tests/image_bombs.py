"""Small files that ask a decoder for much: each made by code, with the code that its row must have."""
from __future__ import annotations

import functools
import math
import struct
import zlib

from PIL import Image

from tests.pictures import encode, png, png_chunk, texture

SHORT, LONG, UNDEFINED = 3, 4, 7
_FORMATS = {SHORT: "H", LONG: "I", UNDEFINED: "B"}


def scans_jpeg(side: int, scans: int) -> bytes:
    """A gray progressive JPEG whose last refinement comes again and again, each time without data."""
    whole = encode(Image.fromarray(texture(64, 64)).convert("L"), "JPEG", progressive=True)
    whole = whole.replace(struct.pack(">HH", 64, 64), struct.pack(">HH", side, side), 1)
    start = whole.rindex(b"\xff\xda")
    header = whole[start:start + 2 + int.from_bytes(whole[start + 2:start + 4], "big")]
    return whole[:-2] + header * scans + whole[-2:]


def segments_jpeg(count: int, body: bytes, *, marker: int = 0xE1, side: int = 64) -> bytes:
    """A JPEG with the same segment many times."""
    whole = encode(texture(side, side), "JPEG")
    return whole[:2] + (b"\xff" + bytes([marker]) + struct.pack(">H", 2 + len(body)) + body) * count + whole[2:]


def exif_of_overlapping_values(entries: int, size: int) -> bytes:
    """An EXIF block whose entries all have the same `size` bytes as value."""
    fields = b"".join(struct.pack("<HHII", 0x9000 + number, UNDEFINED, size, 8) for number in range(entries))
    return (b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", entries) + fields + bytes(4)).ljust(size + 20, b"\0")


def tagged_tiff(tags: dict[int, tuple[int, list[int]]], stored: bytes) -> bytes:
    """A TIFF of `tags` (type and values), with `stored` at offset 8."""
    body = bytearray(b"II*\0\0\0\0\0" + stored + bytes(len(stored) % 2))
    fields = b""
    for tag, (kind, values) in sorted(tags.items()):
        value = struct.pack(f"<{len(values)}{_FORMATS[kind]}", *values)
        if len(value) > 4:
            place = len(body)
            body += value + bytes(len(value) % 2)
            value = struct.pack("<I", place)
        fields += struct.pack("<HHI", tag, kind, len(values)) + value.ljust(4, b"\0")
    body[4:8] = struct.pack("<I", len(body))
    return bytes(body) + struct.pack("<H", len(tags)) + fields + bytes(4)


def tiled_tiff(size: tuple[int, int], tile: tuple[int, int], *, bits: int = 8) -> bytes:
    """An RGB TIFF of (width, height), whose tiles are all the same stored, deflated, black one."""
    stored = zlib.compress(bytes(tile[0] * tile[1] * 3 * bits // 8), 9)
    count = math.ceil(size[0] / tile[0]) * math.ceil(size[1] / tile[1])
    return tagged_tiff({
        256: (LONG, [size[0]]), 257: (LONG, [size[1]]), 258: (SHORT, [bits] * 3), 259: (SHORT, [8]), 262: (SHORT, [2]),
        277: (SHORT, [3]), 322: (LONG, [tile[0]]), 323: (LONG, [tile[1]]), 324: (LONG, [8] * count),
        325: (LONG, [len(stored)] * count),
    }, stored)


def plain_tiff(side: int, strips: int, rows: int) -> bytes:
    """A gray TIFF, not compressed, that lists the same strip again and again."""
    return tagged_tiff({
        256: (LONG, [side]), 257: (LONG, [side]), 258: (SHORT, [8]), 259: (SHORT, [1]), 262: (SHORT, [1]), 277: (SHORT, [1]),
        273: (LONG, [8] * strips), 278: (LONG, [rows]), 279: (LONG, [side * rows] * strips),
    }, bytes(side * rows))


def overlapping_tags_tiff(entries: int, size: int) -> bytes:
    """A gray TIFF with many private tags, all of the same `size` bytes."""
    image = bytearray(plain_tiff(16, 1, 16).ljust(size, b"\0"))
    (place,) = struct.unpack_from("<I", image, 4)
    (known,) = struct.unpack_from("<H", image, place)
    fields = bytes(image[place + 2:place + 2 + 12 * known])
    fields += b"".join(struct.pack("<HHII", 40_000 + number, UNDEFINED, size, 8) for number in range(entries))
    image[4:8] = struct.pack("<I", len(image))
    return bytes(image) + struct.pack("<H", known + entries) + fields + bytes(4)


def chunks_png(chunk: bytes, count: int) -> bytes:
    """A PNG of one pixel with many chunks before its own."""
    return png(1, 1, bits=8, color_type=0, rows=b"\0\0", chunks=chunk * count)


def comment_gif(comments: bytes) -> bytes:
    """A GIF with extension blocks before its frame."""
    whole = encode(Image.new("L", (8, 8)), "GIF")
    place = 13 + (3 << (whole[10] & 7) + 1)
    return whole[:place] + comments + whole[place:]


def run_length_bmp(width: int, height: int, runs: bytes) -> bytes:
    """A BMP of 256 colours in run-length code."""
    start = 14 + 40 + 1024
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(runs), 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", start + len(runs), 0, 0, start) + header + bytes(1024) + runs


@functools.cache
def image_bombs() -> dict[str, tuple[bytes, str]]:
    """Name to (content, expected ``error_code``); none has more than 10 MB, most are much smaller."""
    profile = png_chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(1_000_000), 9))
    text = png_chunk(b"iTXt", b"k\0\1\0\0\0" + zlib.compress("\U0001F600".encode() * 200_000, 9))
    costly = {
        "progressive JPEG of 2000 scans": scans_jpeg(3000, 2000),
        "EXIF in many small segments": segments_jpeg(100_000, b"Exif\0\0".ljust(40, b"\0")),
        "TIFF of many tiles larger than it": tiled_tiff((1, 100_000), (4096, 16)),
        "TIFF that lists one strip many times": plain_tiff(2000, 5000, 1999),
        "PNG with many colour profiles": chunks_png(profile, 5000),
        "GIF with a comment in many blocks": comment_gif(b"!\xfe" + b"\1a" * 200_000 + b"\0"),
        "GIF with many comments": comment_gif(b"!\xfe\1a\0" * 200_000),
    }
    large = {
        "TIFF of one tile larger than it": tiled_tiff((64, 64), (16_384, 8192)),
        "16-bit TIFF of one tile larger than it": tiled_tiff((64, 64), (8192, 8192), bits=16),
        "TIFF of overlapping tags": overlapping_tags_tiff(5000, 1_000_000),
        "EXIF of overlapping values": segments_jpeg(1, exif_of_overlapping_values(2500, 60_000)),
        "JPEG of many empty segments": segments_jpeg(1_500_000, b""),
        "PNG with much text in few bytes": chunks_png(text, 64),
        "run-length BMP that skips rows": run_length_bmp(1_000_000, 1, b"\0\2\0\xff" + b"\0\1"),
    }
    return {
        **{name: (content, "decode_too_costly") for name, content in costly.items()},
        **{name: (content, "image_too_large") for name, content in large.items()},
    }
