"""Operators between integers for which torch's quantized kernels need more than a scale, or are none."""
from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from sparkq.engines.torch_graph.engine import packing_for
from sparkq.engines.torch_graph.graph import TorchGraph
from sparkq.program.interpreter import interpret
from sparkq.program.types import Array, Program
from tests.export.programs import PER_CHANNEL, Step, program_of, real, rounded, step

_MEAN, _VAR = np.array([1, 2, 3], np.float32), np.array([4, 0.25, 1], np.float32)
_CONSTANTS: dict[str, Array] = {"rows": np.array([3, 0, 0, 1]), "mean": _MEAN, "var": _VAR, "weight": _VAR + 1}
CASES: dict[str, Step] = {
    "largest": step("y", "amax", "x", dim=(2,), keepdim=True),
    "rows": step("y", "index_select", "x", "rows", dim=3),
    "a norm without weights": step("y", "batch_norm", "x", None, None, "mean", "var", eps=0.0),
    "a norm without a bias": step("y", "batch_norm", "x", "weight", None, "mean", "var", eps=0.0),
}


def _found(program: Program, images: npt.NDArray[np.uint8]) -> Array:
    """What the engine answers."""
    with packing_for("fbgemm"), torch.inference_mode():
        found: Array = TorchGraph(program).run(torch.from_numpy(images)).numpy()
    return found


def test_a_row_of_its_own() -> None:
    """A layer of a table, which has no batch."""
    program = program_of([
        step("row", "full", shape=(16,), value=3.0), rounded("a", "row", 0.5, 10), real("x", "a", 0.5, 10),
        step("w", PER_CHANNEL, "integers", "scales", "zeros", axis=0), step("y", "linear", "x", "w", "bias"),
        rounded("b", "y", 0.5, 10), real("c", "b", 0.5, 10), step("pixels", "_to_copy", "images", shape=(-1, 2, 2, 3)),
        step("one", "amax", "pixels", dim=(1, 2, 3), keepdim=False), step("column", "view", "one", shape=(-1, 1)),
        step("z", "add", "column", "c"),
    ], {
        "integers": np.arange(128, dtype=np.int8).reshape(8, 16), "scales": np.full(8, 2.0**-7), "zeros": np.zeros(8, np.int64),
        "bias": np.arange(8, dtype=np.float32),
    }, (2, 2))
    images = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)
    np.testing.assert_array_equal(_found(program, images), interpret(program, images))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_between_two_roundings(case: Step) -> None:
    """The very integers of the interpreter; scales are powers of two, where no rounding is in doubt."""
    start = [
        step("planes", "permute", "images", dims=(0, 3, 1, 2)), step("pixels", "_to_copy", "planes", shape=(-1, 3, 4, 5)),
        rounded("a", "pixels", 2.0, 10), real("x", "a", 2.0, 10), case, rounded("b", "y", 2.0, 10), real("c", "b", 2.0, 10),
    ]
    program = program_of([*start, step("z", "sum", "c", dim=(2, 3), keepdim=False)], _CONSTANTS, (4, 5))
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3), dtype=np.uint8)
    expected = interpret(program, images)
    assert np.ptp(expected) > 15
    np.testing.assert_array_equal(_found(program, images), expected)
