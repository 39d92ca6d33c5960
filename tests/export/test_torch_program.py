"""Programs as ``.pt2`` files, which torch alone can load and run."""
from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch

from sparkq.config import QuantizationConfig
from sparkq.errors import ModelError
from sparkq.export.torch_program import torch_program_bytes
from sparkq.metrics.sqnr import sqnr_of
from sparkq.program.interpreter import interpret
from sparkq.quantization import quantize
from tests.export.programs import PER_CHANNEL, conv, program_of, real, rounded, step
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
        # A value in the middle between two integers may become either; in the dynamic recipe one has more of them.
        assert sqnr_of(expected[:count], got) > 35


def test_a_layer_of_integers() -> None:
    """To the very integers, in operators that torch knows without further imports, with weights that stay INT8."""
    random = np.random.default_rng(0)
    weight = random.integers(-127, 128, (4, 3, 3, 3), dtype=np.int8)
    program = program_of([
        step("planes", "permute", "images", dims=(0, 3, 1, 2)), real("x", "planes", 1 / 16, 100),
        step("kernels", PER_CHANNEL, "weight", "scales", "zeros", axis=0), conv("a", "x", "kernels", None, padding=1),
        rounded("b", "a", 1 / 8, 120, (20, 200)), real("c", "b", 1 / 8, 120),
        step("moved", "full", value=0.5, shape=(-1, 4, 5, 6)), step("d", "add", "c", "moved"),
        step("flat", "view", "d", shape=(-1, 120)),
    ], {"weight": weight, "scales": 2.0 ** np.arange(-9, -5), "zeros": np.array([0, 3, -4, 0])}, (5, 6))
    exported = torch.export.load(io.BytesIO(torch_program_bytes(program)))
    called = [str(node.target) for node in exported.graph.nodes if node.op == "call_function"]
    assert called and all(name.startswith("aten.") for name in called)
    assert [tensor.shape for tensor in exported.state_dict.values() if tensor.dtype == torch.int8] == [weight.shape]
    for count in (1, 3):
        images = random.integers(0, 256, (count, 5, 6, 3), dtype=np.uint8)
        with torch.no_grad():
            got = exported.module()(torch.from_numpy(images)).numpy()
        expected = interpret(program, images)
        assert np.ptp(expected) > 15
        np.testing.assert_array_equal(got, expected)


def test_what_cannot_be_written() -> None:
    """Torch infers one size of a view."""
    program = program_of([
        step("pixels", "view", "images", shape=(-1, 12), dtype="uint8"), step("v", "_to_copy", "pixels", shape=(-1, 12)),
        step("turned", "permute", "v", dims=(1, 0)), step("products", "matmul", "v", "turned"),
        step("a", "view", "products", shape=(-1, 1, -1)), step("z", "sum", "a", dim=(2,), keepdim=False),
    ], {}, (2, 2))
    with pytest.raises(ModelError, match="one size that depends on the number of images"):
        torch_program_bytes(program)
