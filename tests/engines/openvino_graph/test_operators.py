"""Every operator of a program, in OpenVINO's kernels, answers what torch does."""
from __future__ import annotations

import functools
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from sparkq.engines.openvino_graph.build import CONVERTED, openvino_model
from sparkq.errors import EngineError
from sparkq.program.operators import OPERATORS
from tests.engines.openvino_graph.live import live
from tests.engines.openvino_graph.running import answers
from tests.engines.openvino_graph.written import Written
from tests.program.cases import CASES, PLANES, Case, X
from tests.program.samples import IMAGE

ROWS = X[:, 0]

MORE: dict[str, Case] = {
    "elu plain": Case("aten.elu", [X], F.elu, {"alpha": 1.0, "scale": 1.0, "input_scale": 1.0}),
    "selu": Case("aten.elu", [X], F.selu, {"alpha": 1.6732632423543772, "scale": 1.0507009873554805, "input_scale": 1.0}),
    "elu with a negative alpha": Case(
        "aten.elu", [X], functools.partial(torch.ops.aten.elu, alpha=-0.5), {"alpha": -0.5, "scale": 1.0, "input_scale": 1.0},
    ),
    "softplus plain": Case("aten.softplus", [X * 20], F.softplus, {"beta": 1.0, "threshold": 20.0}),
    "softplus that is soon linear": Case(
        "aten.softplus", [X], functools.partial(F.softplus, beta=2.0, threshold=0.5), {"beta": 2.0, "threshold": 0.5},
    ),
    "clamp with bounds that cross": Case(
        "aten.clamp", [X], functools.partial(torch.clamp, min=1.0, max=-1.0), {"min": 1.0, "max": -1.0},
    ),
    "clamp with infinite bounds": Case("aten.clamp", [X], lambda x: x, {"min": -math.inf, "max": math.inf}),
    "clamp to the largest": Case(
        "aten.clamp", [X], functools.partial(torch.clamp, min=math.inf, max=2.0), {"min": math.inf, "max": 2.0},
    ),
    "pow of negative numbers": Case("aten.pow", [X, 3.0], torch.pow),
    "round of halves": Case("aten.round", [np.arange(-20, 20, dtype=np.float32) / 2], torch.round),
    "var of everything": Case(
        "aten.var", [X], functools.partial(torch.var, dim=(0, 1, 2, 3), correction=0.5),
        {"dim": (0, 1, 2, 3), "keepdim": False, "correction": 0.5},
    ),
    **{
        f"norm {order}": Case(
            "aten.linalg_vector_norm", [np.rint(X)], functools.partial(torch.linalg.vector_norm, ord=order, dim=(1, 2)),
            {"dim": (1, 2), "keepdim": False, "ord": order},
        ) for order in (0.0, -math.inf, 0.5)
    },
    "attention of matrices": Case(
        "aten.scaled_dot_product_attention", [ROWS[0], ROWS[1], X[1, 1], None], F.scaled_dot_product_attention,
        {"is_causal": False, "scale": None},
    ),
    "group_norm plain": Case(
        "aten.group_norm", [PLANES, None, None], lambda x, weight, bias: F.group_norm(x, 4), {"num_groups": 4, "eps": 1e-5},
    ),
    "max_pool2d that rounds up": Case(
        "aten.max_pool2d", [PLANES - 9], functools.partial(F.max_pool2d, kernel_size=3, stride=2, ceil_mode=True),
        {"kernel_size": (3, 3), "stride": (2, 2), "padding": (0, 0), "dilation": (1, 1), "ceil_mode": True},
    ),
    "nearest of odd sizes": Case(
        "aten.upsample_nearest2d", [PLANES], functools.partial(F.interpolate, size=(29, 31)), {"output_size": (29, 31)},
    ),
}


def test_every_operator_is_converted() -> None:
    """None of the list is refused as such."""
    assert CONVERTED == OPERATORS.keys()


@pytest.mark.parametrize("case", [*CASES.values(), *MORE.values()], ids=[*CASES, *(f"also {name}" for name in MORE)])
def test_an_operator_answers_what_torch_does(case: Case) -> None:
    """In float32, to four digits; its inputs are known only when it runs."""
    expected = case.answer().astype(np.float64).ravel()
    found = answers(live(case.program()), IMAGE, 1)[0]
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("rows", "target"), [(1, 5), (5, 10), (5, 15), (7, 7), (14, 16), (21, 12), (26, 28), (49, 14), (63, 36)])
def test_nearest_neighbours_are_torchs(rows: int, target: int) -> None:
    """Positions are multiplied with float32 ratios, whose last digit decides where they fall between two pixels."""
    planes = np.arange(rows * 3, dtype=np.float32).reshape(1, 1, rows, 3)
    case = Case("aten.upsample_nearest2d", [planes], F.interpolate, {"output_size": (target, 6)})
    expected = F.interpolate(torch.from_numpy(planes), size=(target, 6)).numpy()
    assert np.array_equal(answers(live(case.program()), IMAGE, 1)[0], expected.ravel())


def test_what_openvino_has_no_node_for_is_said() -> None:
    """With the node and the operator."""
    written = Written()
    x = written.reals((9,))
    spread = written.add("var", x, dim=(0,), keepdim=True, correction=1.0)
    program = written.program(written.add("sub", x, spread))
    openvino_model(program, 2)
    with pytest.raises(EngineError, match=rf"node {spread}: .*aten\.var.*before the number of images is"):
        openvino_model(program, None)


def test_numbers_that_openvino_cannot_compute_with_are_said() -> None:
    """Factors are computed when the model is built: one divides by zero here."""
    case = Case("aten.softplus", [X], F.softplus, {"beta": 0.0, "threshold": -math.inf})
    with pytest.raises(EngineError, match=r"node result: .*aten\.softplus.*division by zero"):
        openvino_model(case.program(), 1)
