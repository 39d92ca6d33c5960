"""Small files that ask for gigabytes or minutes are refused by what stands before their pixels; honest ones are not."""
from __future__ import annotations

import io
import os
import resource
import subprocess
import sys

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sparkq.config import DecodeLimits
from sparkq.errors import ImageError
from sparkq.images.coded_image import CodedImage
from sparkq.images.decode import open_image
from sparkq.images.decode_meter import DecodeMeter
from sparkq.images.decode_time import decoding_seconds
from sparkq.images.opening_cost import add_opening
from tests import HANG_SECONDS, ROOT
from tests.image_bombs import (
    chunks_png,
    comment_gif,
    exif_of_overlapping_values,
    image_bombs,
    plain_tiff,
    scans_jpeg,
    segments_jpeg,
    tiled_tiff,
)
from tests.images.test_decode_memory import KINDS, large_file
from tests.pictures import encode, png_chunk, texture

LIMITS = DecodeLimits()
ONE_BY_ONE = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from sparkq.config import DecodeLimits, PreprocessConfig
from sparkq.errors import ImageError
from sparkq.images.preprocess import preprocess_content
from tests.image_bombs import image_bombs

bombs = image_bombs()
for name, (content, code) in bombs.items():
    before = resource.getrusage(resource.RUSAGE_SELF)
    try:
        preprocess_content(content, PreprocessConfig(crop=224), limits=DecodeLimits())
        found = "ok"
    except ImageError as error:
        found = error.code
    after = resource.getrusage(resource.RUSAGE_SELF)
    print(name, found, (after.ru_maxrss - before.ru_maxrss) * 1024, sep=":")
"""


@pytest.mark.parametrize("name", image_bombs())
def test_a_bomb_is_an_error_row_before_it_is_decoded(name: str) -> None:
    """With the defaults; what it says names the limit that may be raised."""
    content, code = image_bombs()[name]
    assert len(content) < 10_000_000
    with pytest.raises(ImageError) as caught:
        open_image(content, limits=LIMITS, enough=(256, 256))
    assert caught.value.code == code
    assert ("max_decode_seconds" if code == "decode_too_costly" else "max_decode_bytes") in caught.value.message


def test_no_bomb_takes_memory() -> None:
    """A process in which they are opened one by one grows by the file's copies, not by what they promise."""
    done = subprocess.run(
        [sys.executable, "-c", ONE_BY_ONE, str(ROOT)], capture_output=True, text=True, timeout=HANG_SECONDS,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (HANG_SECONDS, HANG_SECONDS)),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    found = {name: (code, int(grown)) for name, code, grown in (line.split(":") for line in done.stdout.splitlines())}
    assert {name: code for name, (code, _) in found.items()} == {name: code for name, (_, code) in image_bombs().items()}
    assert {name: grown for name, (_, grown) in found.items() if grown > 40 * 10**6} == {}


@pytest.mark.parametrize("content", [
    scans_jpeg(300, 500), segments_jpeg(20, b"Exif\0\0".ljust(65_000, b"\0")),
    segments_jpeg(100, b"ICC_PROFILE\0".ljust(65_000), marker=0xE2),
    tiled_tiff((1000, 1000), (256, 256)), tiled_tiff((100, 100), (1024, 1024)), plain_tiff(500, 500, 1),
    chunks_png(png_chunk(b"tEXt", b"Title\0a picture"), 1000), comment_gif(b"!\xfe" + (b"\xff" + b"a" * 255) * 100 + b"\0"),
    segments_jpeg(1, exif_of_overlapping_values(10, 1000)),
], ids=[
    "many small scans", "long EXIF", "long profile", "tiles", "tile larger than the image", "strips of a row", "texts", "comment",
    "EXIF",
])
def test_what_is_merely_unusual_is_decoded(content: bytes) -> None:
    """Many of something is no bomb yet."""
    rgb, size = open_image(content, limits=LIMITS)
    assert rgb.mode == "RGB" and (rgb.height, rgb.width) == size


@pytest.mark.parametrize("name", KINDS)
def test_an_honest_image_is_far_from_the_limit(name: str) -> None:
    """Nine megapixels of every kind: not a quarter of the default."""
    data = large_file(name)
    meter = DecodeMeter(LIMITS, file_bytes=len(data))
    add_opening(meter, data)
    image = Image.open(io.BytesIO(data))
    assert meter.seconds + decoding_seconds(CodedImage(image, data, image.width * image.height)) < LIMITS.max_decode_seconds / 4


@given(scans=st.integers(0, 3000), side=st.integers(8, 4000), limit=st.integers(1, 20))
@settings(max_examples=30, deadline=None)
def test_the_limit_is_one_of_scans_times_pixels(scans: int, side: int, limit: int) -> None:
    """A larger limit refuses no more, and what is refused at the limit of another size is refused above it."""
    data = scans_jpeg(side, scans)
    image = Image.open(io.BytesIO(data))
    seconds = decoding_seconds(CodedImage(image, data, side * side))
    assert seconds >= 4e-9 * side * side * scans
    meter = DecodeMeter(DecodeLimits(max_decode_seconds=limit), file_bytes=len(data))
    if seconds > limit:
        with pytest.raises(ImageError, match="max_decode_seconds"):
            meter.add("it", seconds=seconds)
    else:
        meter.add("it", seconds=seconds)


@given(st.binary(max_size=300))
@settings(deadline=None)
def test_no_walk_ends_with_another_error(tail: bytes) -> None:
    """Whatever follows a signature is walked or left to the decoder."""
    for start in (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        add_opening(DecodeMeter(LIMITS, file_bytes=0), start + tail)
        add_opening(DecodeMeter(LIMITS, file_bytes=0), memoryview(start + tail))


def test_the_walk_takes_the_signed_bytes_of_arrow() -> None:
    """As workers hand them over."""
    view = memoryview(pa.array([encode(texture(64, 64), "JPEG", progressive=True)])[0].as_buffer())
    assert open_image(view, limits=LIMITS)[1] == (64, 64)
