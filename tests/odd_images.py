"""Bad and odd files, each a named case with the error code that its row must have; None where it must be predicted."""
from __future__ import annotations

import functools
import io
import struct

import numpy as np
from PIL import Image, ImageCms

from tests.pictures import encode, png_chunk, quadrants, texture, tiff

MAX_IMAGE_PIXELS = 1_000_000
"""Of the tests over this corpus; its bombs have more."""

Case = tuple[bytes | None, str | None]


@functools.cache
def odd_images() -> dict[str, Case]:
    """Name to (content, expected ``error_code``)."""
    return {**_good(), **_turned(), **_truncated(), **_damaged(), **_not_images(), **_too_large()}


def _good() -> dict[str, Case]:
    photo = Image.fromarray(texture(48, 64))
    clear = photo.copy()
    clear.putalpha(Image.linear_gradient("L").resize(photo.size))
    palette = photo.quantize(16)
    deep = np.asarray(photo.convert("L")).astype(np.uint16) * 257
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    frames = [Image.fromarray(quadrants()), Image.fromarray(quadrants()[::-1].copy())]
    files = {
        "plain JPEG": encode(photo, "JPEG"), "plain PNG": encode(photo, "PNG"),
        "progressive JPEG": encode(photo, "JPEG", progressive=True), "CMYK JPEG": encode(photo.convert("CMYK"), "JPEG"),
        "gray JPEG": encode(photo.convert("L"), "JPEG"), "JPEG without chroma subsampling": encode(photo, "JPEG", subsampling=0),
        "JPEG with an ICC profile": encode(photo, "JPEG", icc_profile=profile),
        "PNG with an ICC profile": encode(photo, "PNG", icc_profile=profile),
        "JPEG with 60 kB of comment": encode(photo, "JPEG", comment=b"x" * 60_000),
        "JPEG with bytes behind its end": encode(photo, "JPEG") + b"\0" * 1000,
        "16-bit PNG": encode(deep, "PNG"), "16-bit TIFF": encode(deep, "TIFF"),
        "1-bit PNG": encode(photo.convert("1"), "PNG"), "RGBA PNG": encode(clear, "PNG"),
        "gray PNG with alpha": encode(clear.convert("LA"), "PNG"),
        "palette PNG": encode(palette, "PNG"), "palette PNG with alpha": encode(palette, "PNG", transparency=b"\0\x80\xff"),
        "animated GIF": encode(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "animated WebP": encode(frames[0], "WEBP", save_all=True, append_images=frames[1:]),
        "animated PNG": encode(frames[0], "PNG", save_all=True, append_images=frames[1:]),
        "TIFF of two pages": encode(frames[0], "TIFF", save_all=True, append_images=frames[1:]),
        "CMYK TIFF": encode(photo.convert("CMYK"), "TIFF"), "BMP": encode(photo, "BMP"),
        "WebP": encode(photo, "WEBP"), "lossless WebP": encode(photo, "WEBP", lossless=True),
        "1 x 1": encode(photo.crop((0, 0, 1, 1)), "PNG"), "1 x 1 JPEG": encode(photo.crop((0, 0, 1, 1)), "JPEG"),
        "1 x 20000": encode(photo.resize((1, 20_000)), "PNG"), "20000 x 1": encode(photo.resize((20_000, 1)), "PNG"),
    }
    return {name: (content, None) for name, content in files.items()}


def _turned() -> dict[str, Case]:
    cases: dict[str, Case] = {}
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        cases[f"EXIF orientation {orientation}"] = (encode(quadrants(), "JPEG", exif=exif, quality=95), None)
    return cases


def _truncated() -> dict[str, Case]:
    photo = texture(48, 64)
    cases: dict[str, Case] = {}
    for name, whole in (
        ("JPEG", encode(photo, "JPEG")), ("progressive JPEG", encode(photo, "JPEG", progressive=True)),
        ("PNG", encode(photo, "PNG")),
    ):
        for tenth in range(1, 10):
            cases[f"{name} cut at {tenth}/10"] = (whole[:len(whole) * tenth // 10], "truncated_image")
    return cases


def _damaged() -> dict[str, Case]:
    photo = texture(48, 64)
    jpeg, whole = encode(photo, "JPEG"), encode(photo, "PNG")
    flipped = bytearray(whole)
    flipped[whole.index(b"IDAT") + 100] ^= 1
    return {
        "PNG with a wrong checksum": (bytes(flipped), "corrupt_image"),
        "PNG without its header": (whole.replace(b"IHDR", b"IHDX"), "corrupt_image"),
        "JPEG of 99 bits": (jpeg.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x63"), "corrupt_image"),
        "JPEG of no height": (
            jpeg.replace(b"\xff\xc0\0\x11\x08" + struct.pack(">H", 48), b"\xff\xc0\0\x11\x08\0\0"), "corrupt_image",
        ),
        "TIFF of floats": (tiff(4, 4, bits=32, photometric=1, data=bytes(64), sample_format=3), "unsupported_image"),
        "TIFF of 32-bit integers": (tiff(4, 4, bits=32, photometric=1, data=bytes(64), sample_format=2), "unsupported_image"),
    }


def _not_images() -> dict[str, Case]:
    files = {
        "HTML named .jpg": b"<!DOCTYPE html><html><body>404 Not Found</body></html>", "JSON": b'{"error": "expired"}',
        "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>", "PDF": b"%PDF-1.7\n" + b"x" * 1000, "zeros": bytes(1000),
        "one byte": b"\xff", "JPEG with a wrong magic": b"\0" + encode(texture(48, 64), "JPEG")[1:],
        "WAV": b"RIFF\x24\0\0\0WAVEfmt " + bytes(28), "zip": b"PK\3\4" + bytes(100),
    }
    return {
        "null": (None, "missing_content"), "zero bytes": (b"", "empty_content"),
        **{name: (content, "not_an_image") for name, content in files.items()},
    }


def _too_large() -> dict[str, Case]:
    stream = io.BytesIO()
    Image.new("1", (15_000, 15_000)).save(stream, "PNG")
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    promise = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b"") + png_chunk(b"IEND", b"")
    return {
        "decompression bomb": (stream.getvalue(), "image_too_large"),
        "bomb that only promises": (promise, "image_too_large"),
        "one pixel row too many": (encode(Image.new("L", (1000, 1001)), "PNG"), "image_too_large"),
    }
