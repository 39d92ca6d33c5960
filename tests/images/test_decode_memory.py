"""What decoding takes in memory is judged before it is done: no image makes a worker grow beyond its bound."""
from __future__ import annotations

import io
import os
import struct
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from sparkq.config import DecodeLimits
from sparkq.errors import ImageError
from sparkq.images.coded_image import CodedImage
from sparkq.images.decode import open_image
from sparkq.images.decode_memory import decoding_bytes
from tests import HANG_SECONDS, ROOT
from tests.image_bombs import tiled_tiff
from tests.pictures import encode, png, texture

SIDE = 3000
MEASURE = """
import ctypes, io, sys
sys.path.insert(0, sys.argv[1])
from PIL import Image
from sparkq.config import PreprocessConfig
from sparkq.images.coded_image import CodedImage
from sparkq.images.decode_memory import decoding_bytes
from sparkq.images.preprocess import preprocess_content
from tests.images.test_decode_memory import KINDS, large_file

def status(name):
    return int(next(line for line in open("/proc/self/status") if line.startswith(name)).split()[1]) * 1024

preprocess = PreprocessConfig(crop=224)
for name in KINDS:
    data = large_file(name)
    image = Image.open(io.BytesIO(data))
    pixels = image.width * image.height
    if image.format == "JPEG":
        image.draft(None, (512, 512))
    judged = decoding_bytes(CodedImage(image, data, pixels))
    del image
    ctypes.CDLL(None).malloc_trim(0)
    open("/proc/self/clear_refs", "w").write("5")
    before = status("VmRSS")
    preprocess_content(data, preprocess)
    print(name, judged, status("VmHWM") - before, sep=":")
"""


def turned() -> Image.Exif:
    """Orientation 6."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


KINDS: dict[str, tuple[str, str, dict[str, object]]] = {
    "JPEG": ("RGB", "JPEG", {}), "progressive JPEG": ("RGB", "JPEG", {"progressive": True}),
    "progressive JPEG, no subsampling": ("RGB", "JPEG", {"progressive": True, "subsampling": 0}),
    "progressive CMYK JPEG": ("CMYK", "JPEG", {"progressive": True}),
    "PNG": ("RGB", "PNG", {"compress_level": 1}), "RGBA PNG": ("RGBA", "PNG", {"compress_level": 1}),
    "gray PNG": ("L", "PNG", {"compress_level": 1}), "16-bit PNG": ("I;16", "PNG", {"compress_level": 1}),
    "palette PNG": ("P", "PNG", {"compress_level": 1}), "turned PNG": ("RGB", "PNG", {"compress_level": 1, "exif": turned()}),
    "WebP": ("RGB", "WEBP", {"quality": 50, "method": 0}), "GIF": ("P", "GIF", {}), "TIFF": ("RGB", "TIFF", {}),
    "deflated TIFF of one strip": ("RGB", "TIFF", {"compression": "tiff_deflate", "tiffinfo": {278: 3000}}),
    "TIFF of JPEGs": ("RGB", "TIFF", {"compression": "jpeg", "tiffinfo": {278: 3000}}), "TIFF of one large tile": ("", "", {}),
    "BMP": ("RGB", "BMP", {}),
}


def large_file(name: str) -> bytes:
    """A file of 9 megapixels of one of `KINDS`."""
    if name == "TIFF of one large tile":
        return tiled_tiff((SIDE, SIDE), (2 * SIDE // 16 * 16, SIDE // 16 * 16 + 16))
    photo = Image.fromarray(np.tile(texture(300, 300), (SIDE // 300, SIDE // 300, 1)))
    mode, file_format, options = KINDS[name]
    gray = np.asarray(photo.convert("L")).astype(np.uint16) * 257
    return encode(gray if mode == "I;16" else photo.convert(mode), file_format, **options)


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="only Linux tells a process's peak from a moment on")
def test_what_is_judged_is_what_a_process_takes() -> None:
    """Of each kind: at least that, and not twice as much and 20 MB."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(ROOT)], capture_output=True, text=True, timeout=HANG_SECONDS,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    found = {name: (int(judged), int(taken)) for name, judged, taken in (line.split(":") for line in done.stdout.splitlines())}
    assert list(found) == list(KINDS)
    assert {name: each for name, each in found.items() if each[1] > each[0] + 8 * 10**6} == {}
    assert {name: each for name, each in found.items() if each[0] > 2 * each[1] + 20 * 10**6} == {}


def promised(file_format: str, width: int, height: int, **options: object) -> bytes:
    """A file whose header says that it has so many pixels."""
    if file_format == "PNG":
        return png(width, height, bits=8, color_type=2, rows=b"")
    data = encode(texture(64, 64), "JPEG", **options)
    return data.replace(struct.pack(">HH", 64, 64), struct.pack(">HH", height, width), 1)


@pytest.mark.parametrize(("file_format", "options", "size", "allowed"), [
    ("PNG", {}, (6000, 6000), True), ("PNG", {}, (10_000, 10_000), False),
    ("JPEG", {}, (10_000, 10_000), True), ("JPEG", {"progressive": True}, (7000, 7000), True),
    ("JPEG", {"progressive": True}, (10_000, 10_000), False),
], ids=str)
def test_the_default_limit(file_format: str, options: dict[str, object], size: tuple[int, int], allowed: bool) -> None:
    """100 megapixels are refused where they would have to be decoded whole; a JPEG is decoded at reduced scale."""
    with pytest.raises(ImageError) as caught:
        open_image(promised(file_format, *size, **options)[:-2], enough=(256, 256), limits=DecodeLimits())
    assert caught.value.code == ("truncated_image" if allowed else "image_too_large")
    assert allowed or "max_decode_bytes" in str(caught.value)


def test_a_jpeg_of_single_scans_is_judged_like_a_progressive_one() -> None:
    """One component a scan: libjpeg keeps all coefficients until the last has come."""
    data = bytearray(encode(texture(64, 64), "JPEG", subsampling=0))
    image = Image.open(io.BytesIO(data))
    whole = decoding_bytes(CodedImage(image, bytes(data), 64 * 64))
    scan = data.index(b"\xff\xda")
    assert data[scan + 4] == 3
    data[scan + 4] = 1
    assert decoding_bytes(CodedImage(image, bytes(data), 64 * 64)) == whole + 2 * 3 * 64 * 64
