"""Programs as OpenVINO's files: read from disk, and run for any number of images."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sparkq.config import QuantizationConfig
from sparkq.metrics.sqnr import sqnr_of
from sparkq.quantization import quantize
from sparkq.worker.predictor import Predictor
from tests.quantization.trained_models import trained

openvino = pytest.importorskip("openvino", reason="openvino is an optional extra")


@pytest.mark.parametrize("recipe", ["static", "none"])
def test_a_trained_network(shared_data: Path, tmp_path: Path, recipe: str) -> None:
    """The answers are the engine's."""
    from sparkq.export.openvino_ir import openvino_ir

    case = trained(shared_data, "resnet20_cifar10", images=16, held_out=12)
    config = QuantizationConfig(recipe=recipe, rounding="nearest")
    artifact = quantize(case.model, calibration=case.calibration, preprocess=case.preprocess, config=config)
    for name, data in zip(("model.xml", "model.bin"), openvino_ir(artifact.program()), strict=True):
        (tmp_path / name).write_bytes(data)
    compiled = openvino.Core().compile_model(str(tmp_path / "model.xml"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    expected = Predictor(artifact).engine.run(case.held_out)
    for count in (12, 1):
        got = compiled([case.held_out[:count]])[0]
        assert got.shape == (count, 10) and sqnr_of(expected[:count], np.array(got)) > 60
