"""`sparkq.quantize`: nothing but through the gate. DataFrames: tests/spark/test_calibration.py."""
from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

import sparkq
from sparkq.config import QuantizationConfig
from sparkq.demo.digits import PREPROCESS
from sparkq.errors import ConfigError, GateError, InputError
from tests.models import SMALL, SmallNet, digit_files, digits_net, noise


def test_measured_on_images_that_are_held_out() -> None:
    """Every fifth; the figures stand in the manifest."""
    artifact = sparkq.quantize(digits_net(), calibration=(file for file in digit_files(60)), preprocess=PREPROCESS)
    accuracy = artifact.manifest.accuracy
    assert (artifact.manifest.calibration_images, accuracy["images"]) == (48, 12)
    assert accuracy["expected_loss"] <= 0.5 and accuracy["agreement"] >= 90 and accuracy["standard_error"] > 0


def test_a_float_artifact_has_nothing_to_lose() -> None:
    config = QuantizationConfig(recipe="none")
    artifact = sparkq.quantize(digits_net(), calibration=digit_files(20), preprocess=PREPROCESS, config=config)
    assert artifact.manifest.accuracy == {}


def test_refuses_what_does_not_agree() -> None:
    """A network whose outputs are all but equal: rounding decides its labels, whatever the recipe."""
    model = SmallNet()
    with torch.no_grad():
        model.linear.weight.mul_(1e-6)
        model.linear.bias.zero_()
    config = QuantizationConfig(rounding="nearest", bias_correction=False, float_output=False)
    with pytest.raises(GateError) as caught:
        sparkq.quantize(model, calibration=noise(400), preprocess=SMALL, config=config, min_agreement=1.0)
    assert caught.value.attempts
    assert all((attempt.measured.agreement or 100) < 100 for attempt in caught.value.attempts if attempt.int8_macs_percent)
    # What nobody can tell from the outputs is no loss.
    found = sparkq.quantize(model, calibration=noise(400), preprocess=SMALL, config=config)
    assert found.manifest.accuracy["expected_loss_at_most"] < 0.5


def test_single_settings_of_preprocessing() -> None:
    """A mapping replaces what it names; a model that publishes the rest is quantized just as with all of it given."""
    model = copy.deepcopy(digits_net())
    model.pretrained_cfg = {  # type: ignore[assignment]
        "input_size": (3, 28, 28), "crop_mode": "squash", "interpolation": "bilinear", "mean": (0.5,) * 3, "std": (0.25,) * 3,
    }
    images = digit_files(60)
    whole = sparkq.quantize(digits_net(), calibration=images, preprocess=PREPROCESS)
    single = sparkq.quantize(model, calibration=images, preprocess={"resize": {"size": 32}, "crop": 32})
    one, other = single.manifest, whole.manifest
    assert (one.accuracy, one.calibration_fingerprint) == (other.accuracy, other.calibration_fingerprint)
    assert np.array_equal(one.golden.output, other.golden.output)
    assert set(whole.manifest.preprocess_origin.values()) == {"given"}
    assert {name for name, origin in single.manifest.preprocess_origin.items() if origin == "given"} == {"resize.size", "crop"}
    with pytest.raises(ConfigError, match="expected mean, std of the input of DigitsNet"):
        sparkq.quantize(digits_net(), calibration=images, preprocess={"resize": {"mode": "squash", "size": 32}})


@pytest.mark.parametrize("wrong", [{"min_agreement": 98}, {"max_accuracy_drop": -1}])
def test_targets_that_cannot_be(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        sparkq.quantize(SmallNet(), calibration=noise(4), preprocess=SMALL, **wrong)


@pytest.mark.parametrize("labels", [None, "labels.csv"])
def test_evaluation_images_are_a_dataframe_with_labels(labels: str | None) -> None:
    images = [np.zeros((8, 8, 3), np.uint8)]
    with pytest.raises(InputError, match="evaluation_labels"):
        sparkq.quantize(SmallNet(), calibration=noise(4), preprocess=SMALL, evaluation=images, evaluation_labels=labels)
