"""From an image to the model's input: the pixels that torchvision's transforms give on Pillow images."""
from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sparkq.config import DecodeLimits, PreprocessConfig, ResizeConfig
from sparkq.errors import ImageError
from sparkq.float_models.named import import_model_library
from sparkq.images.decode import decode_image
from sparkq.images.preprocess import preprocess_array, preprocess_content
from tests import HANG_SECONDS, ROOT
from tests.pictures import Pixels, encode, quadrants, texture

import_model_library("torchvision")
from torchvision import transforms  # noqa: E402  # it imports only after the line above

INTERPOLATIONS = ("bilinear", "bicubic")


def shorter_side(size: int, crop: int | tuple[int, int], **values: Any) -> PreprocessConfig:
    """The ImageNet way."""
    return PreprocessConfig(resize=ResizeConfig("shorter_side", size), crop=crop, **values)


def squash(size: int | tuple[int, int], crop: int | tuple[int, int] | None = None, **values: Any) -> PreprocessConfig:
    """To exactly this size."""
    return PreprocessConfig(resize=ResizeConfig("squash", size), crop=crop, **values)


def torchvisions(image: Pixels, config: PreprocessConfig) -> Pixels:
    """What torchvision makes of it."""
    size = config.resize.size
    steps: list[Any] = [
        transforms.Resize(
            list(size) if isinstance(size, tuple) else size, transforms.InterpolationMode(config.interpolation), antialias=True,
        ),
        transforms.CenterCrop(config.input_size),
    ]
    return np.asarray(transforms.Compose(steps)(Image.fromarray(image)))


CONFIGS = {
    "ImageNet": shorter_side(256, 224),
    "ImageNet bicubic": shorter_side(256, 224, interpolation="bicubic"),
    "no crop to speak of": shorter_side(224, 224),
    "odd": shorter_side(235, 224, interpolation="bicubic"),
    "odd crop": shorter_side(256, (199, 225)),
    "small crop": shorter_side(256, 32),
    "larger than the photos": shorter_side(600, 518, interpolation="bicubic"),
    "squash": squash(227),
    "squash bicubic": squash((200, 301), interpolation="bicubic"),
    "squash and crop": squash((256, 320), (224, 299)),
    "squash and small crop": squash(512, 33),
}


def assert_torchvisions(actual: Pixels, image: Pixels, config: PreprocessConfig) -> None:
    """To the bit without a crop, within a few levels with one; unless it shrinks so far that blocks are averaged first."""
    expected = torchvisions(image, config)
    assert actual.shape == expected.shape and actual.dtype == np.uint8
    size = config.resize.size
    sides = image.shape[:2] if isinstance(size, tuple) else [min(image.shape[:2])] * 2
    shrinks = max(side / wanted for side, wanted in zip(sides, size if isinstance(size, tuple) else (size, size), strict=True))
    if shrinks < 6:
        difference = np.abs(actual.astype(int) - expected)
        # Of photographs it is one or two levels; random textures are the hardest.
        assert difference.max() <= (0 if config.crop is None else 4)
        assert difference.mean() < 0.1 or actual.size < 10_000


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_real_photos_are_torchvisions(config: PreprocessConfig, shared_data: Path) -> None:
    """Every pixel; landscape, portrait and square ones."""
    shapes = set()
    for folder in ("photos_jpeg", "photos_cc_by", "cifar10"):
        for path in sorted((shared_data / folder / "images").iterdir())[::17][:12]:
            content = path.read_bytes()
            image = decode_image(content)
            assert_torchvisions(preprocess_array(image, config), image, config)
            # Far larger JPEGs are decoded at reduced scale, and may differ: see below.
            if min(image.shape[:2]) < 2 * np.min(config.resize.size) or path.suffix == ".png":
                assert_torchvisions(preprocess_content(content, config), image, config)
            shapes.add(int(np.sign(image.shape[0] - image.shape[1])))
    assert shapes == {-1, 0, 1}


@st.composite
def sizes_and_configs(draw: st.DrawFn) -> tuple[int, int, PreprocessConfig]:
    """Height, width (at most 1 to 16) and a config."""
    short = draw(st.integers(1, 120))
    height, width = draw(st.permutations([short, draw(st.integers(short, min(16 * short, 400)))]))
    interpolation = draw(st.sampled_from(INTERPOLATIONS))
    if draw(st.booleans()):
        size = draw(st.integers(1, 90))
        crop = draw(st.integers(1, size) | st.tuples(st.integers(1, size), st.integers(1, size)))
        return height, width, shorter_side(size, crop, interpolation=interpolation)
    pair = draw(st.tuples(st.integers(1, 150), st.integers(1, 150)))
    crop_or_none = draw(st.none() | st.tuples(st.integers(1, pair[0]), st.integers(1, pair[1])))
    return height, width, squash(pair, crop_or_none, interpolation=interpolation)


@settings(max_examples=300, deadline=None)
@given(case=sizes_and_configs(), seed=st.integers(0, 9))
def test_any_size_is_torchvisions(case: tuple[int, int, PreprocessConfig], seed: int) -> None:
    """Up and down, odd and even, wide and tall."""
    height, width, config = case
    image = texture(height, width, seed)
    assert_torchvisions(preprocess_array(image, config), image, config)


def test_averaging_blocks_first_keeps_the_picture(shared_data: Path) -> None:
    """Real photos at a tenth of their size: less than a level off on average."""
    for path in sorted((shared_data / "photos_jpeg" / "images").iterdir())[:12]:
        image = decode_image(path.read_bytes())
        for config in (squash(32), shorter_side(32, 28)):
            difference = np.abs(preprocess_array(image, config).astype(int) - torchvisions(image, config))
            assert difference.mean() < 1 and difference.max() < 16, path


STRIPS = st.tuples(st.integers(1, 6), st.integers(17, 400)).map(lambda pair: (pair[0], pair[0] * pair[1]))


@settings(max_examples=80, deadline=None)
@given(strip=STRIPS, tall=st.booleans(), size=st.integers(1, 40), data=st.data())
def test_a_long_strip_is_torchvisions_within_a_few_levels(
    strip: tuple[int, int], tall: bool, size: int, data: st.DataObject,
) -> None:
    """Only the part of it that the crop needs is computed."""
    crop = data.draw(st.tuples(st.integers(1, size), st.integers(1, size)))
    config = shorter_side(size, crop, interpolation=data.draw(st.sampled_from(INTERPOLATIONS)))
    image = texture(*(strip[::-1] if tall else strip))
    actual = preprocess_array(image, config)
    assert actual.shape == (*crop, 3)
    assert np.abs(actual.astype(int) - torchvisions(image, config)).max() <= 4


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("shape", [(1, 20_000), (20_000, 1), (2, 33_333), (120, 24_000)], ids=str)
def test_a_very_long_strip_is_torchvisions_within_a_few_levels(shape: tuple[int, int], interpolation: str) -> None:
    """Where the whole can still be computed."""
    config = shorter_side(32, 24, interpolation=interpolation)
    image = np.resize(texture(97, 101), (*shape, 3))
    assert np.abs(preprocess_array(image, config).astype(int) - torchvisions(image, config)).max() <= 4


@pytest.mark.parametrize("tall", [False, True], ids=["wide", "tall"])
def test_the_centre_of_a_strip_does_not_depend_on_its_length(tall: bool) -> None:
    """At 40 million pixels float32, in which Pillow takes its box, no longer tells neighbours apart."""
    config = shorter_side(256, 224)
    centre = texture(1, 20)
    image = np.zeros((1, 40_000_000, 3), np.uint8)
    image[:, 20_000_000 - 10: 20_000_000 + 10] = centre
    if tall:
        image, centre = image.reshape(-1, 1, 3), centre.reshape(-1, 1, 3)
    actual = preprocess_array(image, config)
    assert np.ptp(actual) > 0
    assert np.array_equal(actual, preprocess_array(centre, config))
    assert np.abs(actual.astype(int) - torchvisions(centre, config)).max() <= 1


MEASURE = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from tests.pictures import encode, texture
from sparkq.config import PreprocessConfig
from sparkq.images.preprocess import preprocess_content
config = PreprocessConfig(crop=224)
strips = [encode(texture(1, 20_000), "PNG"), encode(texture(20_000, 1), "JPEG")]
preprocess_content(encode(texture(300, 300), "JPEG"), config)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print([preprocess_content(strip, config).shape for strip in strips])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_a_very_long_strip_needs_little_memory() -> None:
    """1 x 20 000 pixels resized whole would be 256 x 5 120 000: 5 GB. A worker has a fraction of that."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(ROOT)], capture_output=True, text=True, timeout=HANG_SECONDS, check=True,
    )
    shapes, megabytes = done.stdout.splitlines()
    assert shapes == "[(224, 224, 3), (224, 224, 3)]"
    assert int(megabytes) < 20


@pytest.mark.parametrize("config", [shorter_side(48, 40), squash(64, interpolation="bicubic")], ids=["shorter side", "squash"])
def test_reduced_scale_decoding_keeps_the_pixels(config: PreprocessConfig, shared_data: Path) -> None:
    """Real JPEGs, many times larger than needed: less than two levels off on average, nowhere another picture."""
    for path in sorted((shared_data / "photos_jpeg" / "images").iterdir())[:12]:
        content = path.read_bytes()
        whole = torchvisions(decode_image(content), config).astype(int)
        difference = np.abs(preprocess_content(content, config) - whole)
        assert difference.mean() < 2, path
        assert np.percentile(difference, 99) < 16, path


def test_reduced_scale_decoding_cuts_the_same_centre() -> None:
    """The real size decides where the crop lies, also where 1/8 of it is no whole number."""
    image = np.asarray(Image.fromarray(quadrants(8, 8)).resize((803, 1205), Image.Resampling.BICUBIC))
    config = shorter_side(40, 40)
    actual = preprocess_content(encode(image, "JPEG", quality=95, subsampling=0), config)
    assert np.abs(actual.astype(int) - torchvisions(image, config)).mean() < 2


def test_the_channel_order_is_the_graphs_business() -> None:
    """The payload takes RGB whatever the model takes: pixels do not depend on the arithmetic."""
    image = texture(50, 60)
    plain, other = squash(32), squash(32, channel_order="BGR", rescale=1, mean=(104, 117, 123), std=2)
    assert np.array_equal(preprocess_array(image, plain), preprocess_array(image, other))


def test_sparks_image_struct_is_preprocessed_as_the_file() -> None:
    """The same pixels from either source; and the limit holds for both."""
    image = texture(50, 60)
    row = {"height": 50, "width": 60, "nChannels": 3, "mode": 16, "data": image[:, :, ::-1].tobytes()}
    config = shorter_side(32, 24)
    assert np.array_equal(preprocess_content(row, config), preprocess_content(encode(image, "PNG"), config))
    for content in (row, encode(image, "PNG")):
        with pytest.raises(ImageError) as caught:
            preprocess_content(content, config, limits=DecodeLimits(max_image_pixels=2999))
        assert caught.value.code == "image_too_large"


def test_an_image_of_the_input_size_is_not_touched() -> None:
    """Neither resized nor cut."""
    image = texture(32, 32)
    for config in (squash(32), shorter_side(32, 32), squash(32, interpolation="bicubic")):
        assert np.array_equal(preprocess_array(image, config), image)
