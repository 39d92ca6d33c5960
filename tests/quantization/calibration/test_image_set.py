"""Calibration images: arrays, encoded bytes, any iterable; what cannot be used is counted or refused."""
from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import numpy as np
import pytest

from sparkq.config import PreprocessConfig, ResizeConfig
from sparkq.errors import InputError
from sparkq.images.preprocess import preprocess_content
from sparkq.quantization.calibration.image_set import SAMPLE_IMAGES, CalibrationSet, calibration_set
from tests.models import SMALL, digit_files, encoded, noise, reference_files


def pixels_of(calibration: CalibrationSet) -> set[bytes]:
    return {image.tobytes() for image in calibration.images}


def test_arrays_bytes_and_generators_are_the_same() -> None:
    images = noise(3)
    files = [encoded(image) for image in images]
    expected = calibration_set(images, SMALL)
    assert expected.images.dtype == np.uint8
    assert pixels_of(expected) == {image.tobytes() for image in images}  # already at the input size
    mixed = [files[0], *images[1:]]
    for calibration in (files, (file for file in files), tuple(map(memoryview, files)), np.stack(images), mixed, files[::-1]):
        other = calibration_set(calibration, SMALL)
        assert np.array_equal(other.images, expected.images)
        assert other.fingerprint == expected.fingerprint


def test_preprocessed_as_for_inference(shared_data: Path) -> None:
    """Real photographs of different sizes, resized and cropped by the code that workers use."""
    preprocess = PreprocessConfig(resize=ResizeConfig("shorter_side", 64), crop=(48, 56))
    files = reference_files(shared_data, "mobilenet", 4)
    calibration = calibration_set(files, preprocess)
    assert calibration.images.shape == (4, 48, 56, 3)
    assert pixels_of(calibration) == {preprocess_content(file, preprocess).tobytes() for file in files}


def test_fingerprint_tells_images_and_how_many_but_not_their_order() -> None:
    images = noise(3)
    changed = [images[0], images[1], images[2] ^ np.uint8(1)]
    sets = (images, images[:2], changed, [*images, images[0]], [*images, *images])
    fingerprints = {calibration_set(item, SMALL).fingerprint for item in sets}
    assert len(fingerprints) == len(sets) and all(len(fingerprint) == 64 for fingerprint in fingerprints)
    assert calibration_set(images, SMALL).fingerprint == calibration_set(images[::-1], SMALL).fingerprint


def test_fingerprint_is_the_documented_sum() -> None:
    """AdHash: anybody can compute it again."""
    images = noise(3)
    total = sum(int(hashlib.sha256(image.tobytes()).hexdigest(), 16) for image in images) % 2**256
    expected = hashlib.sha256(bytes.fromhex(f"{total:064x}") + bytes([0, 0, 0, 0, 0, 0, 0, 3])).hexdigest()
    assert calibration_set(images, SMALL).fingerprint == expected


def test_sample_of_a_large_set() -> None:
    """The same images whatever the order that they came in; the rest still counts."""
    images = noise(300)
    first, second = calibration_set(images, SMALL), calibration_set(images[::-1], SMALL)
    assert np.array_equal(first.images, second.images) and len(first.images) == SAMPLE_IMAGES == 256
    assert first.count == second.count == 300
    assert pixels_of(first) < {image.tobytes() for image in images}


def test_undecodable_images_are_left_out_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    files = list(digit_files(3))
    broken = [b"no image", files[0][:60], b"", files[1][:-30]]
    with caplog.at_level(logging.WARNING):
        calibration = calibration_set([broken[0], files[0], broken[1], broken[2], files[1], broken[3], files[2]], SMALL)
    assert np.array_equal(calibration.images, calibration_set(files, SMALL).images)
    [record] = caplog.records
    assert "left out 4 images" in record.getMessage()
    assert "not_an_image 1" in record.getMessage() and "empty_content 1" in record.getMessage()


def test_no_warning_when_all_decode(caplog: pytest.LogCaptureFixture) -> None:
    calibration_set(digit_files(2), SMALL)
    assert not caplog.records


@pytest.mark.parametrize("calibration", [[], [b"no image", b""]], ids=["empty", "all_broken"])
def test_nothing_left(calibration: list[bytes]) -> None:
    with pytest.raises(InputError, match="at least one image") as caught:
        calibration_set(calibration, SMALL)
    assert caught.value.hint
    assert f"{len(calibration)} could not be decoded" in str(caught.value)


@pytest.mark.parametrize(("item", "got"), [
    (np.zeros((8, 8, 3), np.float32), "float32 [8, 8, 3]"),
    (np.zeros((8, 8, 3), np.int64), "int64 [8, 8, 3]"),
    (np.zeros((8, 8), np.uint8), "uint8 [8, 8]"),
    (np.zeros((8, 8, 4), np.uint8), "uint8 [8, 8, 4]"),
    (np.zeros((3, 8, 8), np.uint8), "uint8 [3, 8, 8]"),
    (np.zeros((0, 8, 3), np.uint8), "uint8 [0, 8, 3]"),
    ("cat.jpg", "str"),
    (None, "NoneType"),
], ids=["float", "int64", "gray", "alpha", "channels_first", "no_pixels", "path", "none"])
def test_wrong_item(item: object, got: str) -> None:
    """Refused with its place and what it is, never cast."""
    with pytest.raises(InputError) as caught:
        calibration_set([noise(1)[0], item], SMALL)  # type: ignore[list-item]
    assert "calibration item 1" in str(caught.value) and got in str(caught.value)
