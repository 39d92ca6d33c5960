"""Bad input to the decoder: an `ImageError` with a stable code each, never another exception."""
from __future__ import annotations

import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from sparkq.config import DEFAULT_MAX_IMAGE_PIXELS, DecodeLimits
from sparkq.error_codes import ErrorCode
from sparkq.errors import ImageError
from sparkq.images.decode import decode_image, open_image
from tests import HANG_SECONDS, ROOT
from tests.pictures import encode, png, quadrants, texture, tiff

PIXELS = texture(48, 64)
PALETTE = Image.fromarray(PIXELS).quantize(16)
EXIF = Image.Exif()
EXIF[0x0112] = 6
EXIF[0x010E] = "a description"
VALID: dict[str, bytes] = {
    "JPEG": encode(PIXELS, "JPEG"),
    "JPEG progressive": encode(PIXELS, "JPEG", progressive=True),
    "JPEG with EXIF": encode(PIXELS, "JPEG", exif=EXIF),
    "JPEG CMYK": encode(Image.fromarray(PIXELS).convert("CMYK"), "JPEG"),
    "PNG": encode(PIXELS, "PNG", exif=EXIF),
    "PNG palette": encode(PALETTE, "PNG", transparency=b"\0\x80"),
    "PNG 16 bit": encode(PIXELS[:, :, 0].astype(np.uint16) * 257, "PNG"),
    "WebP": encode(PIXELS, "WEBP", exif=EXIF),
    "WebP lossless": encode(PIXELS, "WEBP", lossless=True),
    "GIF": encode(PALETTE, "GIF"),
    "BMP": encode(PIXELS, "BMP"),
    "BMP palette": encode(PALETTE, "BMP"),
    "TIFF": encode(PIXELS, "TIFF"),
    "TIFF LZW": encode(PIXELS, "TIFF", compression="tiff_lzw"),
    "TIFF deflate": encode(PIXELS, "TIFF", compression="tiff_adobe_deflate"),
    "TIFF 16 bit": encode(PIXELS[:, :, 0].astype(np.uint16) * 257, "TIFF"),
}


def code_of(data: bytes | None, **options: int) -> str:
    """The code of the error that `data` is; the message is one sentence of bounded length."""
    with pytest.raises(ImageError) as caught:
        decode_image(data, **options)
    message = str(caught.value)
    assert 10 < len(message) < 300 and "\n" not in message
    assert not re.search(r"0x[0-9a-f]{6}", message), "an address in memory is no stable message"
    return caught.value.code


@pytest.mark.parametrize("name", VALID)
def test_the_valid_files_are_valid(name: str) -> None:
    """Else the tests below would show nothing."""
    assert decode_image(VALID[name]).shape in ((48, 64, 3), (64, 48, 3))


@pytest.mark.parametrize(("data", "code"), [
    (None, "missing_content"),
    (b"", "empty_content"),
    (b"<!DOCTYPE html><html><body>404 Not Found</body></html>", "not_an_image"),
    (b'{"error": "expired"}', "not_an_image"),
    (b"\0" * 1000, "not_an_image"),
    (b"\xff", "not_an_image"),
    (b"%PDF-1.7\n" + b"x" * 1000, "not_an_image"),
    (b"P6 1 1 255 abc", "not_an_image"),
    (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not_an_image"),
    (b"RIFF\x24\0\0\0WAVEfmt " + b"\0" * 28, "not_an_image"),
    (b"\xff\xd8\xff", "truncated_image"),
    (VALID["JPEG"].replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x63"), "corrupt_image"),
    (VALID["PNG"].replace(b"IHDR", b"IHDX"), "corrupt_image"),
    (tiff(4, 4, bits=32, photometric=1, data=bytes(64), sample_format=3), "unsupported_image"),
    (tiff(4, 4, bits=32, photometric=1, data=bytes(64), sample_format=2), "unsupported_image"),
], ids=["null", "empty", "HTML", "JSON", "zeros", "one byte", "PDF", "PPM", "SVG", "WAV", "JPEG's first bytes", "JPEG of 99 bits",
        "PNG without header", "float TIFF", "32-bit TIFF"])
def test_each_kind_of_bad_content_has_its_code(data: bytes | None, code: str) -> None:
    """Whatever the file is named."""
    assert code_of(data) == code


@pytest.mark.parametrize("tenth", range(1, 10))
@pytest.mark.parametrize("name", VALID)
def test_a_truncated_file_is_called_truncated(name: str, tenth: int) -> None:
    """At every tenth, in every format."""
    assert code_of(VALID[name][: len(VALID[name]) * tenth // 10]) == "truncated_image"


def test_real_photos_truncated_at_every_tenth(shared_data: Path) -> None:
    """No gray lower half passes for a photo."""
    for folder in ("photos_jpeg", "photos_cc_by", "cifar10"):
        for path in sorted((shared_data / folder / "images").iterdir())[:3]:
            data = path.read_bytes()
            assert {code_of(data[: len(data) * tenth // 10]) for tenth in range(1, 10)} == {"truncated_image"}


@pytest.mark.parametrize("name", ["PNG", "PNG palette", "PNG 16 bit"])
def test_a_wrong_checksum_is_corrupt(name: str) -> None:
    """PNG knows when a byte of its pixels changed."""
    data = bytearray(VALID[name])
    data[data.index(b"IDAT") + 100] ^= 1
    assert code_of(bytes(data)) == "corrupt_image"


def bomb(side: int) -> bytes:
    """A PNG that says it has side x side pixels, and whose rows are missing."""
    return png(side, side, bits=8, color_type=0, rows=b"")


def test_a_bomb_is_refused_at_178_million_pixels() -> None:
    """By default; one row and column less, and decoding is tried."""
    side = int(DEFAULT_MAX_IMAGE_PIXELS ** 0.5)
    assert code_of(bomb(side + 1)) == "image_too_large"
    with pytest.raises(ImageError) as caught:
        open_image(png(side * side, 1, bits=1, color_type=0, rows=b""))
    assert caught.value.code != "image_too_large"


@pytest.mark.parametrize("name", VALID)
def test_the_limit_is_exact(name: str) -> None:
    """Height times width pixels are allowed, one fewer is not; reduced scale does not get round it."""
    assert decode_image(VALID[name], max_image_pixels=48 * 64).size == 48 * 64 * 3
    assert code_of(VALID[name], max_image_pixels=48 * 64 - 1) == "image_too_large"
    with pytest.raises(ImageError, match="3072 pixels; expected at most 3071"):
        open_image(VALID[name], limits=DecodeLimits(max_image_pixels=48 * 64 - 1), enough=(1, 1))


MEASURE = """
import resource, sys, zlib
sys.path.insert(0, sys.argv[1])
from tests.pictures import png, encode, texture
from sparkq.errors import ImageError
from sparkq.images.decode import decode_image
decode_image(encode(texture(9, 9), "PNG"))
data = png(16000, 16000, bits=1, color_type=0, rows=bytes(16000 * 2001))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(3):
    try:
        decode_image(data)
    except ImageError as error:
        print(error.code)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_a_bomb_costs_no_memory() -> None:
    """256 million pixels that are really there are refused before any is decoded."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(ROOT)], capture_output=True, text=True, timeout=HANG_SECONDS, check=True,
    )
    *codes, megabytes = done.stdout.split()
    assert codes == ["image_too_large"] * 3
    assert int(megabytes) < 50


@pytest.mark.parametrize("name", VALID)
def test_only_our_limit_counts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow's own, of the whole process, neither refuses an image (nor warns of one) nor is it changed."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert decode_image(VALID[name]).size == 48 * 64 * 3
    assert Image.MAX_IMAGE_PIXELS == 10
    for data in (VALID[name][:-300], b"junk", bomb(100_000)):
        code_of(data)
        assert Image.MAX_IMAGE_PIXELS == 10


def test_pillows_limit_is_as_before_after_many_threads() -> None:
    """Each thread lifts it for a moment; whatever their order, it comes back."""
    before = Image.MAX_IMAGE_PIXELS

    def decode_all() -> None:
        for data in list(VALID.values()) * 3:
            decode_image(data)

    threads = [threading.Thread(target=decode_all) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Image.MAX_IMAGE_PIXELS == before is not None


@pytest.mark.parametrize("exif", [
    b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 30, b"\xff" * 100,
    b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x09\0\0\0\0\0\0\0",
    b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x00\0\0\0\0\0\0\0",
    b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x04\0\0\0abc\0\0\0\0\0",
], ids=["empty", "only its name", "offset beyond", "entries beyond", "noise", "orientation 9", "orientation 0", "text"])
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damaged_exif_leaves_the_picture_as_it_is_stored(file_format: str, exif: bytes) -> None:
    """It says nothing of the pixels, which are all there."""
    options = {"JPEG": {"quality": 95, "subsampling": 0}, "PNG": {}, "WEBP": {"lossless": True}}[file_format]
    image = decode_image(encode(quadrants(), file_format, exif=exif, **options))
    assert np.abs(image.astype(int) - quadrants()).max() <= 12


def decodes_or_says_why(data: bytes) -> None:
    """An array of RGB pixels, or an `ImageError` with one of the codes."""
    try:
        image = decode_image(data, max_image_pixels=200_000, enough=None)
    except ImageError as error:
        assert error.code in {entry.value for entry in ErrorCode}
        assert len(str(error)) < 300 and "\n" not in str(error)
    else:
        assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
        assert 0 < image.shape[0] * image.shape[1] <= 200_000


STARTS = st.sampled_from([
    b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0\x08\0\0\0", b"RIFF\xff\0\0\0WEBPVP8 ",
])


@settings(max_examples=300, deadline=None)
@given(start=STARTS, rest=st.binary(max_size=400))
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_arbitrary_bytes(start: bytes, rest: bytes) -> None:
    """Also such as begin like an image."""
    decodes_or_says_why(start + rest)


CHANGES = st.lists(st.tuples(st.integers(0, 400) | st.integers(0, 10**5), st.integers(0, 255)), min_size=1, max_size=8)


@settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(name=st.sampled_from(sorted(VALID)), changes=CHANGES, end=st.none() | st.integers(1, 10**4))
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_arbitrary_changes_of_valid_files(name: str, changes: list[tuple[int, int]], end: int | None) -> None:
    """Bytes replaced, most of them in the headers, and perhaps cut."""
    data = bytearray(VALID[name])
    for position, value in changes:
        data[position % len(data)] = value
    decodes_or_says_why(bytes(data[:end]))


@settings(max_examples=300, deadline=None)
@given(name=st.sampled_from([name for name in VALID if name.startswith("TIFF")]), changes=CHANGES)
def test_arbitrary_changes_where_warnings_are_errors(name: str, changes: list[tuple[int, int]]) -> None:
    """Pillow warns of much in a damaged TIFF; under ``python -W error`` that must not end a task either."""
    data = bytearray(VALID[name])
    for position, value in changes:
        data[position % len(data)] = value
    decodes_or_says_why(bytes(data))
