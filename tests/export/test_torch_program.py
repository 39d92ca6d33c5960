"""Programs as ``.pt2`` files, which torch alone can load and run."""
from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch

from sparkq.config import QuantizationConfig
from sparkq.export.torch_program import torch_program_bytes
from sparkq.program.interpreter import interpret
from sparkq.quantization import quantize
from tests.quantization.trained_models import trained


@pytest.mark.parametrize("recipe", ["static", "dynamic"])
def test_a_trained_network(shared_data: Path, recipe: str) -> None:
    """For any number of images it gives what the program means."""
    case = trained(shared_data, "resnet20_cifar10", images=16, held_out=12)
    config = QuantizationConfig(recipe=recipe, rounding="nearest")
    artifact = quantize(case.model, calibration=case.calibration, preprocess=case.preprocess, config=config)
    loaded = torch.export.load(io.BytesIO(torch_program_bytes(artifact.program()))).module()
    expected = interpret(artifact.program(), case.held_out)
    for count in (12, 1):
        with torch.no_grad():
            got = loaded(torch.from_numpy(case.held_out[:count])).numpy()
        assert np.array_equal(got.argmax(1), expected[:count].argmax(1))
        assert np.abs(got - expected[:count]).max() < 0.1 * np.abs(expected).max()
