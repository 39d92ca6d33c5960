"""INT8 on plain tensors: what stays when torch's quantized dtypes go gives the same answers."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sparkq.config import QuantizationConfig
from sparkq.engines import torch_int8
from sparkq.engines.base import LoadOptions
from sparkq.engines.load import load_engine
from sparkq.metrics.sqnr import sqnr_of
from sparkq.quantization import quantize
from tests.quantization.trained_models import trained


@pytest.mark.parametrize("recipe", ["static", "dynamic"])
@pytest.mark.parametrize("name", ["resnet20_cifar10", "squeezenet_1_1"])
def test_a_trained_network(shared_data: Path, name: str, recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in its steps is one of torch's quantized tensors, and each layer still runs in an INT8 kernel."""
    case = trained(shared_data, name, images=8, held_out=8)
    config = QuantizationConfig(recipe=recipe, observer="min_max", rounding="nearest", bias_correction=False)
    artifact = quantize(case.model, calibration=case.calibration, preprocess=case.preprocess, config=config)
    options = LoadOptions(artifact.manifest.input_size)
    expected = load_engine(artifact.payload, "onednn", options).run(case.held_out)
    monkeypatch.setattr(torch_int8, "has_quantized_dtypes", lambda: False)
    engine = torch_int8.load_onednn(artifact.payload, options)
    quantized: list[str] = []
    got = engine.run(case.held_out, lambda step, result: quantized.append(step.name) if result.is_quantized else None)
    assert quantized == []
    layers = [step for step in engine.steps if step.operator == "aten.conv2d" and step.own_range is not None]
    assert len(layers) == (0 if recipe == "dynamic" else {"resnet20_cifar10": 19, "squeezenet_1_1": 26}[name])
    assert np.array_equal(got.argmax(1), expected.argmax(1)) and sqnr_of(expected, got) > 100
