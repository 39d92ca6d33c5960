"""Warnings of odd calibration images: each for its reason, and none for real photographs."""
from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from sparkq.config import QuantizationConfig
from sparkq.quantization import quantize
from sparkq.quantization.calibration.checks import image_complaints
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


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("recipe", ["static", "none"])
def test_one_label_for_all(caplog: pytest.LogCaptureFixture, classes: int, recipe: str) -> None:
    """Said once of the float model, for any number of classes, whatever the recipe; names where there are some."""
    model = SmallNet()
    model.linear = nn.Linear(model.linear.in_features, classes)
    with torch.no_grad():
        model.linear.bias[1] += 1000
    images = calibration_set(noise(40), SMALL)
    names = [f"class {label}" for label in range(classes)]
    for _ in range(2):
        quantize(model, calibration=images, preprocess=SMALL, config=QuantizationConfig(recipe=recipe), labels=names)
    [told] = [record.getMessage() for record in caplog.records if "same label" in record.getMessage()]
    assert told.startswith("calibration: the float model gives all 32 images the same label (1, class 1), although it tells")


def test_images_sorted_by_class_are_in_order(shared_data: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The first ones are all of one class; it is looked at some of all."""
    files = reference_files(shared_data, "resnet20", 200, step=10)
    quantize(
        reference_model(shared_data, "resnet20"), calibration=files, preprocess=REFERENCES["resnet20"].preprocess,
        config=QuantizationConfig(recipe="none"),
    )
    assert "same label" not in caplog.text


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
