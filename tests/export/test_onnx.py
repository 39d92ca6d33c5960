"""Programs as ONNX files: every operator in ONNX Runtime, and whole networks with the answers of the engines."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from sparkq.config import QuantizationConfig
from sparkq.export.onnx.model import WRITERS, onnx_bytes
from sparkq.metrics.sqnr import sqnr_of
from sparkq.program.operators import OPERATORS
from sparkq.quantization import quantize
from sparkq.worker.predictor import Predictor
from tests.program.cases import CASES, Case
from tests.program.samples import IMAGE
from tests.quantization.trained_models import trained

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime runs the files")


def run(data: bytes, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Run a file, one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    result: npt.NDArray[np.float32] = session.run(None, {"images": images})[0]
    return result


def test_every_operator_can_be_written() -> None:
    """The list is closed on this side, too."""
    assert WRITERS.keys() == OPERATORS.keys()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_an_operator(case: Case) -> None:
    """ONNX Runtime computes what torch does."""
    got = run(onnx_bytes(case.program(), name="case"), IMAGE)
    np.testing.assert_allclose(got.reshape(-1), case.answer().astype(np.float64).reshape(-1), rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("recipe", ["static", "dynamic", "none"])
def test_a_trained_network(shared_data: Path, recipe: str) -> None:
    """ResNet-20 for any number of images; INT8 weights are INT8 in the file, and the same artifact gives the same file."""
    case = trained(shared_data, "resnet20_cifar10", images=16, held_out=48)
    artifact = quantize(
        case.model, calibration=case.calibration, preprocess=case.preprocess,
        config=QuantizationConfig(recipe=recipe, rounding="nearest"),
    )
    data = onnx_bytes(artifact.program(), name="resnet20")
    assert data == onnx_bytes(artifact.program(), name="resnet20")
    expected = Predictor(artifact).engine.run(case.held_out)
    for images in (case.held_out, case.held_out[:1]):
        got = run(data, images)
        assert sqnr_of(expected[:len(images)], got) > 30
        assert np.array_equal(got.argmax(1), expected[:len(images)].argmax(1))
    stored = [tensor for tensor in onnx.load_from_string(data).graph.initializer if tensor.data_type == onnx.TensorProto.INT8]
    assert (sum(np.prod(tensor.dims) for tensor in stored) > 250_000) == (recipe != "none")
