"""Kernels value by value and over dimensions: at the edges of the numbers, and for every choice of dimensions."""
from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sparkq.program.interpreter import interpret_values
from sparkq.program.operators import OPERATORS
from sparkq.program.types import Attribute
from tests.program.cases import Case
from tests.program.kernels.comparing import assert_as_torch
from tests.program.samples import IMAGE, one_operator

_EDGES = np.array([
    0.0, -0.0, 0.5, -0.5, 1, -1, 1.5, 2.5, -2.5, 3, -3, 6, 20, 20.5, -20, 88, -88, 710, -750, 1e30, -1e30, 1e-30, -1e-30,
    np.inf, -np.inf, np.nan,
], np.float32)
_X = np.random.default_rng(0).normal(size=(3, 4, 2, 5)).astype(np.float32)
_ATEN: Any = torch.ops.aten
_UNARY = sorted(
    name for name, operator in OPERATORS.items()
    if name.startswith("aten.") and operator.inputs == ("x",) and not operator.attributes
    and name not in ("aten._to_copy", "aten.expand", "aten.view", "aten.logical_not")
)
_DIMS = [dims for count in (1, 2, 3, 4) for dims in itertools.combinations(range(4), count)]


@pytest.mark.parametrize("operator", _UNARY)
def test_a_function_at_the_edges(operator: str) -> None:
    """Zeros of both signs, ties, what overflows, infinities and NaN."""
    assert_as_torch(Case(operator, [_EDGES], getattr(_ATEN, operator.removeprefix("aten."))))


@pytest.mark.parametrize("name", "add div maximum minimum mul pow sub eq ge gt le lt ne".split())
def test_two_tensors_at_the_edges(name: str) -> None:
    """Every edge with every other."""
    x, y = (grid.ravel().copy() for grid in np.meshgrid(_EDGES, _EDGES))
    assert_as_torch(Case(f"aten.{name}", [x, y], getattr(torch, name)))


@pytest.mark.parametrize(("operator", "function", "attributes"), [
    ("clamp", torch.clamp, {"min": 2.0, "max": 1.0}), ("clamp", torch.clamp, {"min": -1.0, "max": math.inf}),
    ("elu", _ATEN.elu, {"alpha": 1.0, "scale": 1.0, "input_scale": 1.0}),
    ("gelu", F.gelu, {"approximate": "none"}), ("gelu", F.gelu, {"approximate": "tanh"}),
    ("leaky_relu", F.leaky_relu, {"negative_slope": 0.0}), ("leaky_relu", F.leaky_relu, {"negative_slope": -0.5}),
    ("softplus", F.softplus, {"beta": 1.0, "threshold": 20.0}), ("softplus", F.softplus, {"beta": 0.5, "threshold": 5.0}),
])
def test_a_function_with_attributes_at_the_edges(
    operator: str, function: Callable[..., Tensor], attributes: dict[str, Attribute],
) -> None:
    """As without attributes."""
    assert_as_torch(Case(f"aten.{operator}", [_EDGES], lambda x: function(x, **attributes), attributes))


@pytest.mark.parametrize(("x", "y"), [(1, 2), (1.5, 2), (-1, 0.5)])
def test_where_chooses_between_numbers(x: float, y: float) -> None:
    """Whole numbers become real ones: the type says float32."""
    truth = np.array([True, False, True])
    result = interpret_values(one_operator("aten.where", [truth, x, y]), IMAGE, ["result"])["result"]
    assert result.dtype == np.float64 and result.tolist() == [x, y, x]


@pytest.mark.parametrize("number", [3, -2, 0])
def test_whole_numbers_in_arithmetic(number: int) -> None:
    """A number is real, on either side of a tensor: NumPy refuses whole numbers to a negative power."""
    assert_as_torch(Case("aten.pow", [_X, number], lambda x, exponent: x ** exponent), rtol=1e-9)
    assert_as_torch(Case("aten.sub", [number, _X], lambda of, x: of - x))
    assert_as_torch(Case("aten.div", [number, _X], lambda of, x: of / x))


@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("dims", _DIMS, ids=str)
def test_reductions_over_any_dimensions(dims: tuple[int, ...], keepdim: bool) -> None:
    """Largest, smallest, mean, sum, variance and norm."""
    given: dict[str, Attribute] = {"dim": dims, "keepdim": keepdim}
    for name in ("amax", "amin", "mean", "sum"):
        assert_as_torch(Case(f"aten.{name}", [_X], _reduced(getattr(torch, name), given), given))
    for correction in (0.0, 0.5, 1.0):
        more = {**given, "correction": correction}
        assert_as_torch(Case("aten.var", [_X], _reduced(torch.var, more), more))
    for order in (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, math.inf, -math.inf):
        more = {**given, "ord": order}
        assert_as_torch(Case("aten.linalg_vector_norm", [_X], _reduced(torch.linalg.vector_norm, more), more))


def _reduced(function: Callable[..., Tensor], attributes: dict[str, Attribute]) -> Callable[[Tensor], Tensor]:
    return lambda x: function(x, **attributes)


@pytest.mark.parametrize("dim", range(4))
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_of_what_overflows(name: str, dim: int) -> None:
    """Exponentials of the values themselves would be infinite; a row of minus infinities alone is NaN."""
    x = _X.copy()
    x[0] *= 1e4
    x[1, 0], x[1, 0, 0, 0], x[2, :, 0, 0] = -np.inf, 1, -np.inf
    assert_as_torch(Case(f"aten.{name}", [x], lambda x: getattr(torch, name)(x, dim), {"dim": dim}))
