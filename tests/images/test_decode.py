"""Decoding: whatever the encoding, right-side-up RGB of the right colours."""
from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageOps

from sparkq.config import DecodeLimits
from sparkq.errors import ImageError
from sparkq.images.decode import decode_image, open_image
from sparkq.images.spark_struct import decode_image_struct
from tests.pictures import Pixels, encode, png, png_chunk, quadrants, texture, tiff

COLOURS = quadrants()
GRAY = np.repeat(np.arange(256, dtype=np.uint8).reshape(8, 32, 1), 3, axis=2)
TEXTURE = texture(37, 53)
PICTURE = Image.fromarray(COLOURS)
HALF_CLEAR = Image.merge("RGBA", [*PICTURE.split(), Image.linear_gradient("L").resize(PICTURE.size)])
PALETTE = PICTURE.quantize(4)
SECOND = Image.fromarray(COLOURS[::-1].copy())


def difference(actual: npt.ArrayLike, expected: npt.ArrayLike) -> int:
    """The largest difference of any channel of any pixel."""
    return int(np.abs(np.asarray(actual, int) - np.asarray(expected, int)).max())


EXACT: dict[str, tuple[bytes, Pixels]] = {
    "PNG": (encode(TEXTURE, "PNG"), TEXTURE),
    "PNG of one pixel": (png(1, 1, bits=8, color_type=2, rows=b"\0\1\2\3"), np.array([[[1, 2, 3]]], np.uint8)),
    "BMP": (encode(TEXTURE, "BMP"), TEXTURE),
    "TIFF": (encode(TEXTURE, "TIFF"), TEXTURE),
    "TIFF LZW": (encode(TEXTURE, "TIFF", compression="tiff_lzw"), TEXTURE),
    "TIFF deflate": (encode(TEXTURE, "TIFF", compression="tiff_adobe_deflate"), TEXTURE),
    "WebP lossless": (encode(TEXTURE, "WEBP", lossless=True), TEXTURE),
    "GIF": (encode(PALETTE, "GIF"), COLOURS),
    "GIF, first frame": (encode(PICTURE, "GIF", save_all=True, append_images=[SECOND]), COLOURS),
    "WebP, first frame": (encode(PICTURE, "WEBP", lossless=True, save_all=True, append_images=[SECOND]), COLOURS),
    "PNG, first frame": (encode(PICTURE, "PNG", save_all=True, append_images=[SECOND]), COLOURS),
    "TIFF, first page": (encode(PICTURE, "TIFF", save_all=True, append_images=[SECOND]), COLOURS),
    "gray PNG": (encode(GRAY[:, :, 0], "PNG"), GRAY),
    "gray BMP": (encode(GRAY[:, :, 0], "BMP"), GRAY),
    "gray TIFF": (encode(GRAY[:, :, 0], "TIFF"), GRAY),
    "gray TIFF, white is zero": (tiff(32, 8, bits=8, photometric=0, data=GRAY[:, :, 0].tobytes()), 255 - GRAY),
    "1-bit PNG": (encode(Image.fromarray(GRAY[:, :, 0] > 127), "PNG"), np.where(GRAY > 127, 255, 0).astype(np.uint8)),
    "1-bit TIFF": (
        encode(Image.fromarray(GRAY[:, :, 0] > 127), "TIFF", compression="group4"),
        np.where(GRAY > 127, 255, 0).astype(np.uint8),
    ),
    "2-bit PNG": (
        png(4, 1, bits=2, color_type=0, rows=b"\0\x1b"), np.array([[[0] * 3, [85] * 3, [170] * 3, [255] * 3]], np.uint8),
    ),
    "palette PNG": (encode(PALETTE, "PNG"), COLOURS),
    "palette BMP": (encode(PALETTE, "BMP"), COLOURS),
    "palette with one clear colour": (encode(PALETTE, "PNG", transparency=1), COLOURS),
    "palette with byte transparency": (encode(PALETTE, "PNG", transparency=b"\x00\x80\xff\x40"), COLOURS),
    "GIF with a clear colour": (encode(PALETTE, "GIF", transparency=0), COLOURS),
    "gray with a clear level": (encode(Image.fromarray(GRAY[:, :, 0]), "PNG", transparency=7), GRAY),
    "RGB with a clear colour": (encode(PICTURE, "PNG", transparency=(255, 0, 0)), COLOURS),
    "RGBA PNG": (encode(HALF_CLEAR, "PNG"), COLOURS),
    "RGBA TIFF": (encode(HALF_CLEAR, "TIFF"), COLOURS),
    "RGBA WebP": (encode(HALF_CLEAR, "WEBP", lossless=True, exact=True), COLOURS),
    "LA PNG": (encode(Image.merge("LA", [Image.fromarray(GRAY[:, :, 0]), Image.new("L", (32, 8), 9)]), "PNG"), GRAY),
    "CMYK TIFF": (encode(PICTURE.convert("CMYK"), "TIFF"), COLOURS),
}


@pytest.mark.parametrize(("data", "expected"), EXACT.values(), ids=EXACT)
def test_lossless_pixels_are_exact(data: bytes, expected: Pixels) -> None:
    """Alpha is dropped, not blended; palettes, bits and inks become their colours."""
    image = decode_image(data)
    assert image.shape == expected.shape and image.dtype == np.uint8
    assert np.array_equal(image, expected)


FINE = {"quality": 95, "subsampling": 0}
CLOSE: dict[str, tuple[bytes, Pixels]] = {
    "JPEG": (encode(COLOURS, "JPEG", **FINE), COLOURS),
    "JPEG progressive": (encode(COLOURS, "JPEG", progressive=True, **FINE), COLOURS),
    "JPEG, MPO with two pictures": (encode(PICTURE, "MPO", save_all=True, append_images=[SECOND], **FINE), COLOURS),
    "gray JPEG": (encode(GRAY[:, :, 0], "JPEG", quality=100), GRAY),
    "CMYK JPEG, inverted as Adobe does": (encode(PICTURE.convert("CMYK"), "JPEG", **FINE), COLOURS),
    "WebP": (encode(GRAY, "WEBP", quality=100), GRAY),
    "JPEG in TIFF": (encode(GRAY, "TIFF", compression="jpeg", quality=95), GRAY),
}


@pytest.mark.parametrize(("data", "expected"), CLOSE.values(), ids=CLOSE)
def test_lossy_pixels_are_close(data: bytes, expected: Pixels) -> None:
    """Within what the codec loses."""
    image = decode_image(data)
    assert image.shape == expected.shape
    assert difference(image, expected) <= 12


def test_the_cmyk_jpeg_of_the_tests_is_adobes_kind() -> None:
    """It has Adobe's marker, and its samples are inverted: else the case above would show nothing."""
    with Image.open(io.BytesIO(encode(Image.new("CMYK", (8, 8), (255, 0, 0, 0)), "JPEG", **FINE))) as image:
        assert "adobe" in image.info
        image.tile = [(image.tile[0][0], image.tile[0][1], image.tile[0][2], ("CMYK", ""))]
        assert difference(np.asarray(image)[0, 0], (0, 255, 255, 255)) <= 3


RAMP = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(8, 32)
PACKED_12 = np.stack([RAMP.ravel()[0::2] >> 4, RAMP.ravel()[1::2] >> 4], axis=1)
TWELVE = np.stack(
    [PACKED_12[:, 0] >> 4, (PACKED_12[:, 0] & 15) << 4 | PACKED_12[:, 1] >> 8, PACKED_12[:, 1] & 255], axis=1,
).astype(np.uint8).tobytes()


def deep_png(color_type: int, channels: int, chunks: bytes = b"") -> bytes:
    """A 16-bit PNG of the ramp, repeated over its channels."""
    samples = np.repeat(RAMP[:, :, None], channels, axis=2).astype(">u2")
    return png(32, 8, bits=16, color_type=color_type, rows=b"".join(b"\0" + row.tobytes() for row in samples), chunks=chunks)


DEEP: dict[str, tuple[bytes, npt.NDArray[np.float64]]] = {
    "gray PNG": (encode(RAMP, "PNG"), RAMP / 257),
    "gray PNG with a clear level": (deep_png(0, 1, png_chunk(b"tRNS", b"\1\0")), RAMP / 257),
    "gray and alpha PNG": (deep_png(4, 2), RAMP / 257),
    "RGB PNG": (deep_png(2, 3), RAMP / 257),
    "RGBA PNG": (deep_png(6, 4), RAMP / 257),
    "gray TIFF": (encode(RAMP, "TIFF"), RAMP / 257),
    "gray TIFF, big-endian": (encode(RAMP.astype(">u2"), "TIFF"), RAMP / 257),
    "gray TIFF, LZW": (encode(RAMP, "TIFF", compression="tiff_lzw"), RAMP / 257),
    "gray TIFF, white is zero": (tiff(32, 8, bits=16, photometric=0, data=RAMP.tobytes()), 255 - RAMP / 257),
    "gray TIFF of 12 bits": (tiff(32, 8, bits=12, photometric=1, data=TWELVE), RAMP / 257),
}


@pytest.mark.parametrize(("data", "expected"), DEEP.values(), ids=DEEP)
def test_more_than_8_bits_are_scaled(data: bytes, expected: npt.NDArray[np.float64]) -> None:
    """The whole range becomes 0 to 255, with no level off by more than one: nothing is clipped."""
    image = decode_image(data)
    assert image.shape == (8, 32, 3) and image.dtype == np.uint8
    assert np.abs(image - expected[:, :, None]).max() <= 1
    assert (image.min(), image.max()) == (0, 255)


# What a camera must store so that its EXIF orientation makes it upright (EXIF 2.32, tag 0x0112).
STORED = {
    1: COLOURS, 2: COLOURS[:, ::-1], 3: COLOURS[::-1, ::-1], 4: COLOURS[::-1], 5: COLOURS.transpose(1, 0, 2),
    6: np.rot90(COLOURS, 1), 7: COLOURS[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(COLOURS, -1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize(("file_format", "options"), [
    ("JPEG", FINE), ("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}),
], ids=["JPEG", "PNG", "WebP", "TIFF", "TIFF LZW"])
def test_every_exif_orientation_becomes_upright(file_format: str, options: dict[str, object], orientation: int) -> None:
    """Each colour is in its own corner, and the size is that of the upright picture."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(np.ascontiguousarray(STORED[orientation]), file_format, exif=exif, **options)
    image, size = open_image(data)
    assert image.mode == "RGB" and size == COLOURS.shape[:2] == (image.height, image.width)
    assert difference(image, COLOURS) <= 12


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_is_taken(kind: type) -> None:
    """Arrow hands out views, not bytes."""
    assert np.array_equal(decode_image(kind(encode(TEXTURE, "PNG"))), TEXTURE)


def test_real_photos_are_as_pillow_opens_them(shared_data: Path) -> None:
    """JPEGs and PNGs from the web and from CIFAR."""
    for folder in ("photos_jpeg", "photos_cc_by", "cifar10"):
        for path in sorted((shared_data / folder / "images").iterdir())[:10]:
            expected = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
            assert np.array_equal(decode_image(path.read_bytes()), expected), path


LARGE = Image.fromarray(texture(150, 200)).resize((1600, 1200), Image.Resampling.BICUBIC)


@pytest.mark.parametrize(("enough", "decoded"), [
    (None, (1200, 1600)), ((300, 300), (600, 800)), ((301, 301), (1200, 1600)), ((75, 75), (150, 200)), ((10, 10), (150, 200)),
    ((100, 300), (600, 800)), ((300, 100), (600, 800)), ((2000, 2000), (1200, 1600)),
], ids=str)
def test_a_far_larger_jpeg_is_decoded_at_reduced_scale(enough: tuple[int, int] | None, decoded: tuple[int, int]) -> None:
    """Never below twice what is enough; the size it really has is told; the pixels are those of the whole, averaged."""
    image, size = open_image(encode(LARGE, "JPEG", **FINE), enough=enough)
    assert size == (1200, 1600)
    assert (image.height, image.width) == decoded
    small = (200, 150)
    assert difference(image.resize(small, Image.Resampling.BOX), LARGE.resize(small, Image.Resampling.BOX)) <= 8


def test_reduced_scale_keeps_orientation_and_size() -> None:
    """A portrait photo is stored lying down; its real size is told upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    image, size = open_image(encode(LARGE, "JPEG", exif=exif, **FINE), enough=(150, 150))
    assert size == (1600, 1200)
    assert (image.height, image.width) == (400, 300)
    upright = LARGE.transpose(Image.Transpose.ROTATE_270).resize((150, 200), Image.Resampling.BOX)
    assert difference(image.resize((150, 200), Image.Resampling.BOX), upright) <= 8


def test_other_formats_are_decoded_whole() -> None:
    """Only libjpeg can reduce."""
    image, size = open_image(encode(LARGE, "WEBP"), enough=(10, 10))
    assert (image.height, image.width) == size == (1200, 1600)


def struct(mode: int, channels: int, data: bytes | None, height: int | None = 1, width: int | None = 2) -> dict[str, object]:
    """A row of Spark's image source."""
    return {"origin": "x", "height": height, "width": width, "nChannels": channels, "mode": mode, "data": data}


@pytest.mark.parametrize(("image", "expected"), [
    (struct(0, 1, bytes([7, 9])), [[[7, 7, 7], [9, 9, 9]]]),
    (struct(16, 3, bytes([1, 2, 3, 4, 5, 6])), [[[3, 2, 1], [6, 5, 4]]]),
    (struct(24, 4, bytes([1, 2, 3, 0, 4, 5, 6, 99])), [[[3, 2, 1], [6, 5, 4]]]),
    (struct(16, 3, bytes([1, 2, 3, 4, 5, 6]), height=2, width=1), [[[3, 2, 1]], [[6, 5, 4]]]),
], ids=["gray", "BGR", "BGRA", "two rows"])
def test_sparks_image_struct_becomes_rgb(image: dict[str, object], expected: list[list[list[int]]]) -> None:
    """OpenCV's order is turned round, alpha dropped, gray repeated; rows stay rows."""
    pixels = decode_image_struct(image)
    assert pixels.dtype == np.uint8 and pixels.flags.c_contiguous
    assert pixels.tolist() == expected


@pytest.mark.parametrize(("image", "code"), [
    (None, "missing_content"),
    (struct(16, 3, None), "missing_content"),
    (struct(-1, -1, b"", -1, -1), "unsupported_image"),
    (struct(17, 3, bytes(6)), "unsupported_image"),
    (struct(16, 4, bytes(8)), "unsupported_image"),
    (struct(16, 3, bytes(5)), "corrupt_image"),
    (struct(16, 3, bytes(7)), "corrupt_image"),
    (struct(16, 3, b"", 0, 0), "corrupt_image"),
    (struct(16, 3, bytes(6), -1, -2), "corrupt_image"),
    (struct(16, 3, bytes(6), None, 2), "corrupt_image"),
    (struct(16, 3, bytes(33), 1, 11), "image_too_large"),
], ids=["null", "null data", "undefined", "16-bit mode", "mode and channels differ", "a byte short", "a byte over", "no pixels",
        "negative", "null height", "too large"])
def test_an_image_struct_that_is_none(image: dict[str, object] | None, code: str) -> None:
    """One code each; Spark writes the undefined one for files that it could not decode."""
    with pytest.raises(ImageError) as caught:
        decode_image_struct(image, limits=DecodeLimits(max_image_pixels=10))
    assert caught.value.code == code
