"""A ReLU that rounding already is."""
from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from sparkq.config import PreprocessConfig, QuantizationConfig, ResizeConfig
from sparkq.quantization import quantize
from sparkq.quantization.recipes import static as static_recipe
from sparkq.worker.predictor import Predictor
from tests.models import noise

PREPROCESS = PreprocessConfig(resize=ResizeConfig("squash", 16), mean=0.5, std=0.25)


def _vgg() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(128, 32), nn.ReLU(),
            nn.Linear(32, 24), nn.ReLU(), nn.Linear(24, 10),
        ).eval()


def test_equal_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without; and the fused operator is gone from the payload, which OpenVINO could not read."""
    images = np.stack(noise(24))
    artifact = quantize(_vgg(), calibration=images, preprocess=PREPROCESS, config=QuantizationConfig())
    dropped: list[int] = []
    monkeypatch.setattr(static_recipe, "drop_implied_relus", lambda graph: dropped.append(0))
    fused = quantize(_vgg(), calibration=images, preprocess=PREPROCESS, config=QuantizationConfig())
    assert dropped
    assert b"linear_relu" in fused.payload and b"linear_relu" not in artifact.payload
    expected = Predictor(fused).engine.run(images)
    assert np.array_equal(Predictor(artifact).engine.run(images), expected)
    assert np.ptp(expected) > 0


def test_openvino_runs_it() -> None:
    """As fbgemm does."""
    pytest.importorskip("openvino", reason="openvino is an optional extra")
    images = np.stack(noise(24))
    artifact = quantize(_vgg(), calibration=images, preprocess=PREPROCESS, config=QuantizationConfig())
    expected = Predictor(artifact).engine.run(images)
    np.testing.assert_allclose(Predictor(artifact, engine="openvino").engine.run(images), expected, atol=1e-4)
