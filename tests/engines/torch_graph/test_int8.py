"""Operators between integers for which torch's quantized kernels need more than a scale, or are none."""
from __future__ import annotations

import numpy as np
import pytest
import torch

from sparkq.engines.torch_graph.engine import packing_for
from sparkq.engines.torch_graph.graph import TorchGraph
from sparkq.program.interpreter import interpret
from sparkq.program.types import Array
from tests.export.programs import Step, program_of, real, rounded, step

_MEAN, _VAR = np.array([1, 2, 3], np.float32), np.array([4, 0.25, 1], np.float32)
_CONSTANTS: dict[str, Array] = {"rows": np.array([3, 0, 0, 1]), "mean": _MEAN, "var": _VAR, "weight": _VAR + 1}
CASES: dict[str, Step] = {
    "largest": step("y", "amax", "x", dim=(2,), keepdim=True),
    "rows": step("y", "index_select", "x", "rows", dim=3),
    "a norm without weights": step("y", "batch_norm", "x", None, None, "mean", "var", eps=0.0),
    "a norm without a bias": step("y", "batch_norm", "x", "weight", None, "mean", "var", eps=0.0),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_between_two_roundings(case: Step) -> None:
    """The very integers of the interpreter; scales are powers of two, where no rounding is in doubt."""
    start = [
        step("planes", "permute", "images", dims=(0, 3, 1, 2)), step("pixels", "_to_copy", "planes", shape=(-1, 3, 4, 5)),
        rounded("a", "pixels", 2.0, 10), real("x", "a", 2.0, 10), case, rounded("b", "y", 2.0, 10), real("c", "b", 2.0, 10),
    ]
    program = program_of([*start, step("z", "sum", "c", dim=(2, 3), keepdim=False)], _CONSTANTS, (4, 5))
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3), dtype=np.uint8)
    with packing_for("fbgemm"), torch.inference_mode():
        found = TorchGraph(program).run(torch.from_numpy(images)).numpy()
    expected = interpret(program, images)
    assert np.ptp(expected) > 15
    np.testing.assert_array_equal(found, expected)
