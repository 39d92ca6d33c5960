"""Programs as ONNX files: every operator in ONNX Runtime, and whole networks with the answers of the engines."""
from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sparkq.config import QuantizationConfig
from sparkq.errors import ModelError
from sparkq.export.onnx.model import WRITERS, onnx_bytes
from sparkq.metrics.sqnr import sqnr_of
from sparkq.program.interpreter import interpret
from sparkq.program.operators import OPERATORS
from sparkq.program.types import Array
from sparkq.quantization import quantize
from sparkq.worker.predictor import Predictor
from tests.export.programs import PER_CHANNEL, Step, conv, program_of, real, rounded, step
from tests.program.cases import CASES, Case
from tests.program.samples import IMAGE
from tests.quantization.trained_models import trained

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime runs the files")

X: npt.NDArray[np.float32] = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
WEIGHT = np.random.default_rng(1).integers(-128, 128, (4, 3), dtype=np.int8)
# Of images of 2 x 2.
START = [step("pixels", "view", "images", shape=(-1, 12), dtype="uint8"), step("v", "_to_copy", "pixels", shape=(-1, 12))]


def run(data: bytes, images: npt.NDArray[np.uint8], *, optimized: Path | None = None) -> npt.NDArray[np.float32]:
    """Run a file, one thread; `optimized` takes the graph that really runs."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    # It warns of a file with kernels of this machine alone.
    options.log_severity_level = 3
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    result: npt.NDArray[np.float32] = session.run(None, {"images": images})[0]
    return result


def test_every_operator_can_be_written() -> None:
    """The list is closed on this side, too."""
    assert WRITERS.keys() == OPERATORS.keys()


def _shifted(x: Tensor, scales: Tensor, zeros: Tensor) -> Tensor:
    return (x.double() - zeros[:, None]) * scales[:, None]


def _nearest(x: Tensor, size: tuple[int, int]) -> Tensor:
    """In float32, where torch takes other rows than in double precision."""
    return F.interpolate(x.float(), size=size, mode="nearest").double()


def _attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)


CORNERS = {
    **{
        f"nearest {size}": Case(
            "aten.upsample_nearest2d", [np.arange(196, dtype=np.float32).reshape(1, 1, 14, 14)],
            functools.partial(_nearest, size=size), {"output_size": size},
        )
        # Some of which have quotients that lie on either side of a whole number.
        for size in ((2, 82), (94, 46), (28, 56), (28, 3))
    },
    "attention of a query that sees nothing": Case(
        "aten.scaled_dot_product_attention", [X[0], X[0], X[0], np.tri(4, 4, -1) > 0], _attention,
        {"is_causal": False, "scale": None},
    ),
    **{
        f"weights with zero points to {most}": Case(
            PER_CHANNEL, [WEIGHT, np.arange(1.0, 5), np.array([0, most, -128, 1])], _shifted, {"axis": 0},
        )
        for most in (127, 128, -129)
    },
    "norm 0": Case(
        "aten.linalg_vector_norm", [np.rint(X)], functools.partial(torch.linalg.vector_norm, ord=0, dim=(1, 2)),
        {"dim": (1, 2), "keepdim": False, "ord": 0.0},
    ),
    "norm of the least": Case(
        "aten.linalg_vector_norm", [X], functools.partial(torch.linalg.vector_norm, ord=-np.inf, dim=(2,)),
        {"dim": (2,), "keepdim": False, "ord": -np.inf},
    ),
}


@pytest.mark.parametrize("case", [*CASES.values(), *CORNERS.values()], ids=[*CASES.keys(), *CORNERS.keys()])
def test_an_operator(case: Case) -> None:
    """ONNX Runtime computes what torch does."""
    got = run(onnx_bytes(case.program(), name="case"), IMAGE)
    np.testing.assert_allclose(got.reshape(-1), case.answer().astype(np.float64).reshape(-1), rtol=2e-4, atol=2e-5)


def test_layers_of_integers(tmp_path: Path) -> None:
    """Runs in integer kernels, to the very integers of the program: scales are powers of two, where no rounding is in doubt."""
    random = np.random.default_rng(0)
    constants: dict[str, Array] = {}
    for name, shape in (("first", (8, 3, 3, 3)), ("second", (8, 4, 3, 3)), ("last", (5, 8))):
        constants[f"{name}.weight"] = random.integers(-127, 128, shape, dtype=np.int8)
        constants[f"{name}.scales"] = 2.0 ** random.integers(-9, -6, shape[0])
        constants[f"{name}.zeros"] = np.zeros(shape[0], np.int64)
    steps = constants["first.scales"].astype(np.float32) / 16
    constants["first.bias"] = random.integers(-2000, 2000, 8).astype(np.float32) * steps
    weights = [
        step(f"{name}.real", PER_CHANNEL, f"{name}.weight", f"{name}.scales", f"{name}.zeros", axis=0)
        for name in ("first", "second", "last")
    ]
    program = program_of([
        *weights, step("planes", "permute", "images", dims=(0, 3, 1, 2)), real("x", "planes", 1 / 16, 100),
        conv("a", "x", "first.real", "first.bias", padding=1), step("b", "relu", "a"), rounded("b.q", "b", 1 / 8, 0),
        real("b.r", "b.q", 1 / 8, 0), conv("c", "b.r", "second.real", None, padding=1, groups=2),
        rounded("c.q", "c", 1 / 4, 128, (20, 200)), real("c.r", "c.q", 1 / 4, 128), step("d", "add", "c.r", "b.r"),
        rounded("d.q", "d", 1 / 4, 120), real("d.r", "d.q", 1 / 4, 120),
        step("e", "amax", "d.r", dim=(2, 3), keepdim=False), step("logits", "linear", "e", "last.real", None),
    ], constants, (6, 7))
    images = random.integers(0, 256, (9, 6, 7, 3), dtype=np.uint8)
    data = onnx_bytes(program, name="integers")
    got, expected = run(data, images, optimized=tmp_path / "optimized.onnx"), interpret(program, images)
    assert np.ptp(expected) > 10
    np.testing.assert_array_equal(got, expected)
    kernels = [node.op_type for node in onnx.load(str(tmp_path / "optimized.onnx")).graph.node]
    assert kernels.count("QLinearConv") == 2 and "Conv" not in kernels


K = np.arange(12, dtype=np.float32)
OPEN: dict[str, tuple[Sequence[Step], dict[str, Array]]] = {
    "expand": ([step("a", "expand", "k", shape=(-1, 12)), step("z", "add", "v", "a")], {"k": K}),
    "full": ([step("a", "full", value=2.5, shape=(-1, 12)), step("z", "add", "v", "a")], {}),
    "two sizes of N": ([
        step("turned", "permute", "v", dims=(1, 0)), step("products", "matmul", "v", "turned"),
        step("a", "view", "products", shape=(-1, 1, -1)), step("z", "sum", "a", dim=(2,), keepdim=False),
    ], {}),
    "multiples of N": ([
        step("a", "view", "v", shape=(-4, 3)), step("b", "cat", "a", "a", dim=0), step("c", "flip", "b", dims=(0,)),
        step("z", "view", "c", shape=(-1, 24)),
    ], {}),
    "a mean over images": ([step("a", "mean", "v", dim=(0,), keepdim=True), step("z", "sub", "v", "a")], {}),
    "windows": ([
        step("a", "view", "v", shape=(-2, 2, 3)),
        step("b", "scaled_dot_product_attention", "a", "a", "a", None, is_causal=True, scale=0.01),
        step("z", "view", "b", shape=(-1, 12)),
    ], {}),
    "a value called as the output": ([step("output", "mul", "v", "k"), step("z", "neg", "output")], {"k": K}),
    "the answer called as the output": ([step("output", "mul", "v", "k")], {"k": K}),
    "a constant called as the output": ([step("z", "mul", "v", "output")], {"output": K}),
    "values called as what is added": ([
        step("images#1", "mul", "v", 2.0), step("output", "mul", "images#1", 3.0), step("z#1", "neg", "output"),
        step("z", "add", "z#1", 4.0),
    ], {}),
}


@pytest.mark.parametrize("steps, constants", OPEN.values(), ids=OPEN.keys())
def test_any_number_of_images(steps: Sequence[Step], constants: dict[str, Array]) -> None:
    """Shapes follow the images, and names get into nobody's way."""
    program = program_of([*START, *steps], constants, (2, 2))
    data = onnx_bytes(program, name="open")
    for count in (1, 4):
        images = np.random.default_rng(count).integers(0, 256, (count, 2, 2, 3), dtype=np.uint8)
        expected = interpret(program, images)
        got = run(data, images)
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5 * float(np.abs(expected).max()))


REFUSED = {
    "a variance of all images": [step("it", "var", "v", dim=(0,), keepdim=True, correction=1.0), step("z", "add", "v", "it")],
    "causal attention between images": [
        step("q", "view", "v", shape=(1, -1, 12)),
        step("it", "scaled_dot_product_attention", "q", "q", "q", None, is_causal=True, scale=None),
        step("z", "view", "it", shape=(-1, 12)),
    ],
    "images as channels of a norm": [
        step("q", "view", "v", shape=(1, -3, 4)), step("it", "group_norm", "q", None, None, num_groups=3, eps=1e-5),
        step("z", "view", "it", shape=(-1, 12)),
    ],
    "images as rows of a pool": [
        step("q", "view", "v", shape=(1, 1, -1, 12)), step("it", "adaptive_avg_pool2d", "q", output_size=(2, 12)),
        step("a", "amax", "it", dim=(0, 1, 2), keepdim=False), step("z", "add", "v", "a"),
    ],
}


@pytest.mark.parametrize("steps", REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_written(steps: Sequence[Step]) -> None:
    """One sentence that names the node and its operator."""
    operator = next(operator for name, operator, *_ in steps if name == "it")
    with pytest.raises(ModelError, match=rf"^node it \({operator}\): expected .*; got .* whose N is open\."):
        onnx_bytes(program_of([*START, *steps], {}, (2, 2)), name="refused")


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
        assert sqnr_of(expected[:len(images)], got) > 25
        assert np.array_equal(got.argmax(1), expected[:len(images)].argmax(1))
    stored = [tensor for tensor in onnx.load_from_string(data).graph.initializer if tensor.data_type == onnx.TensorProto.INT8]
    assert (sum(np.prod(tensor.dims) for tensor in stored) > 250_000) == (recipe != "none")
