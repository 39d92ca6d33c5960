"""Warnings of odd calibration images: each for its reason, and none for real photographs."""
from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from sparkq.config import QuantizationConfig
from sparkq.quantization import quantize
from sparkq.quantization.calibration.checks import image_complaints, label_complaints
from sparkq.quantization.calibration.image_set import calibration_set
from tests.models import REFERENCES, SMALL, SmallNet, digits, noise, reference_files, reference_model

Pixels = npt.NDArray[np.uint8]
PHOTOS = np.stack(noise(64))
GRAY = np.repeat(PHOTOS[..., :1], 3, axis=3)


@pytest.mark.parametrize(("images", "count", "word"), [
    (PHOTOS[:31], 31, "few"),
    (GRAY, 64, "gray"),
    (np.concatenate([GRAY[:62], PHOTOS[:2]]), 64, "gray"),
    (np.concatenate([PHOTOS[:20], PHOTOS[20:40] // 64]), 40, None),
    (np.concatenate([PHOTOS[:30], PHOTOS[:34] // 64 + 7]), 64, "contrast"),
    (np.concatenate([PHOTOS[:48], PHOTOS[:16]]), 64, "copies"),
    (PHOTOS, 64, None),
    (np.concatenate([GRAY[:32], PHOTOS[:32]]), 64, None),
], ids=["few", "gray", "nearly_all_gray", "half_dark", "dark", "copies", "fine", "half_gray"])
def test_images(images: Pixels, count: int, word: str | None) -> None:
    complaints = image_complaints(images, count)
    assert len(complaints) == (word is not None)
    for complaint in complaints:
        assert word in complaint and " Hint: " in complaint  # type: ignore[operator]


def test_gray_scans_are_told_to_be_gray() -> None:
    """By nature they are; the text says when to ignore it."""
    [complaint] = image_complaints(digits()[0].images[:200], 200)
    assert "unless the job's images are gray" in complaint


def test_labels() -> None:
    outputs = np.random.default_rng(0).normal(size=(32, 10)).astype(np.float32)
    assert label_complaints(outputs) == []
    outputs[:31, 7] = 50
    [complaint] = label_complaints(outputs)
    assert "31 of 32" in complaint and "(7)" in complaint and "knows 10" in complaint
    assert label_complaints(outputs[:, 6:8]) == []  # a rare defect against none: one label is no wonder
    assert label_complaints(outputs[:8]) == []


@pytest.mark.parametrize("name", ["resnet20", "mobilenet"])
def test_no_alarm_on_real_photographs(shared_data: Path, caplog: pytest.LogCaptureFixture, name: str) -> None:
    """CIFAR-10 sorted by class, and photographs of ImageNet's classes."""
    step = 40 if name == "resnet20" else 4
    files = reference_files(shared_data, name, 48, step=step)
    config = QuantizationConfig(rounding="nearest", bias_correction=False, equalization=False)
    quantize(reference_model(shared_data, name), calibration=files, preprocess=REFERENCES[name].preprocess, config=config)
    assert "Hint" not in caplog.text


def test_warned_of_once_a_set(caplog: pytest.LogCaptureFixture) -> None:
    """The gate quantizes one set many times; recipes without calibration do not care."""
    images = calibration_set(noise(3), SMALL)
    with caplog.at_level(logging.WARNING):
        for recipe in ("none", "dynamic"):
            quantize(SmallNet(), calibration=images, preprocess=SMALL, config=QuantizationConfig(recipe=recipe))
        assert not caplog.records
        for _ in range(2):
            quantize(SmallNet(), calibration=images, preprocess=SMALL)
    assert len(caplog.records) == 1 and "3 images are few" in caplog.text
