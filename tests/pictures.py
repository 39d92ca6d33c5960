"""Pictures made on the spot: colours that one can name, in every encoding."""
from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]


def encode(image: Image.Image | npt.NDArray[Any], file_format: str, **options: Any) -> bytes:
    """A file as Pillow writes it."""
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, file_format, **options)
    return stream.getvalue()


def quadrants(height: int = 16, width: int = 32) -> Pixels:
    """Red and green above, blue and white below: no turn and no mirror image of it is like it."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = (255, 0, 0)
    pixels[: height // 2, width // 2:] = (0, 255, 0)
    pixels[height // 2:, : width // 2] = (0, 0, 255)
    pixels[height // 2:, width // 2:] = (255, 255, 255)
    return pixels


def texture(height: int, width: int, seed: int = 0) -> Pixels:
    """Smooth colours under fine noise: what a wrong resize or a wrong row order would visibly change."""
    rows, columns = np.mgrid[0:height, 0:width]
    waves = np.stack([np.sin(rows / 9), np.sin(columns / 7), np.sin((rows + columns) / 11)], axis=-1)
    noise = np.random.default_rng(seed).normal(0, 12, (height, width, 3))
    return np.clip(128 + 100 * waves + noise, 0, 255).astype(np.uint8)


def png(width: int, height: int, *, bits: int, color_type: int, rows: bytes, chunks: bytes = b"") -> bytes:
    """A PNG from its raw rows (each with its filter byte), for what Pillow cannot write."""
    header = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + chunks + png_chunk(b"IDAT", zlib.compress(rows))
        + png_chunk(b"IEND", b"")
    )


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk with its length and checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def tiff(width: int, height: int, *, bits: int, photometric: int, data: bytes, sample_format: int = 1) -> bytes:
    """An uncompressed little-endian gray TIFF from its raw samples, for what Pillow cannot write."""
    short, long = 3, 4
    tags = [
        (256, short, width), (257, short, height), (258, short, bits), (259, short, 1), (262, short, photometric),
        (273, long, 8), (277, short, 1), (278, short, height), (279, long, len(data)), (339, short, sample_format),
    ]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    data += b"\0" * (len(data) % 2)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory + b"\0" * 4
