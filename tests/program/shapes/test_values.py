"""Types of what is computed value by value and over dimensions: what torch gives, and a refusal where torch refuses."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sparkq.program.types import Attribute
from tests.program.shapes.agreement import Given, agreed, inferred

_SHAPES = st.lists(st.sampled_from([1, 1, 2, 3]), max_size=4).map(tuple)
_NAMES = {
    "arithmetic": "add div maximum minimum mul pow sub".split(), "comparison": "eq ge gt le lt ne".split(),
    "truth": ["logical_and", "logical_or"],
}


@settings(deadline=None, max_examples=300)
@given(st.data(), _SHAPES, _SHAPES)
def test_two_tensors(data: st.DataObject, left: tuple[int, ...], right: tuple[int, ...]) -> None:
    """Sizes of 1 are stretched."""
    kind = data.draw(st.sampled_from(sorted(_NAMES)))
    name, dtype = data.draw(st.sampled_from(_NAMES[kind])), "bool" if kind == "truth" else "float32"
    agreed(f"aten.{name}", [(dtype, left), (dtype, right)], {}, getattr(torch, name))


@settings(deadline=None, max_examples=200)
@given(_SHAPES, _SHAPES, _SHAPES)
def test_where(condition: tuple[int, ...], left: tuple[int, ...], right: tuple[int, ...]) -> None:
    """Three tensors are stretched to one shape, or two and a number."""
    agreed("aten.where", [("bool", condition), ("float32", left), ("float32", right)], {}, torch.where)
    agreed("aten.where", [("bool", condition), ("float32", left), 1.5], {}, torch.where)


@pytest.mark.parametrize("operator", ["add", "div", "gt", "mul", "pow", "sub"])
@pytest.mark.parametrize("first", [True, False])
def test_a_tensor_and_a_number(operator: str, first: bool) -> None:
    """On either side; two numbers would be none of the program's values."""
    inputs: list[Given] = [2.0, ("float32", (3, 4))] if first else [("float32", (3, 4)), 2.0]
    assert inferred(f"aten.{operator}", inputs, {}) == ("bool" if operator == "gt" else "float32", (3, 4))
    assert inferred(f"aten.{operator}", [1.0, 2.0], {}) is None
    assert inferred(f"aten.{operator}", [("uint8", (3, 4)), 2.0], {}) is None


_REDUCTIONS: dict[str, Callable[..., Tensor]] = {
    "amax": torch.amax, "amin": torch.amin, "mean": torch.mean, "sum": torch.sum, "var": torch.var,
    "linalg_vector_norm": torch.linalg.vector_norm,
}


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(sorted(_REDUCTIONS)), _SHAPES, st.lists(st.integers(-1, 4), max_size=4).map(tuple), st.booleans())
def test_reductions(name: str, shape: tuple[int, ...], dims: tuple[int, ...], keepdim: bool) -> None:
    """Over dimensions named one by one, counted from the front; torch takes no dimensions for all of them."""
    by_name: dict[str, dict[str, Attribute]] = {"var": {"correction": 0.0}, "linalg_vector_norm": {"ord": 2.0}}
    more = by_name.get(name, {})
    agreed(
        f"aten.{name}", [("float32", shape)], {"dim": dims, "keepdim": keepdim, **more},
        lambda x: _REDUCTIONS[name](x, dim=dims, keepdim=keepdim, **more), strict=not dims or min(dims) < 0 or not shape,
    )


@settings(deadline=None, max_examples=100)
@given(st.sampled_from([torch.softmax, torch.log_softmax]), _SHAPES, st.integers(0, 4))
def test_softmax(function: Any, shape: tuple[int, ...], dim: int) -> None:
    """Along one dimension, which is there."""
    agreed(f"aten.{function.__name__}", [("float32", shape)], {"dim": dim}, lambda x: function(x, dim), strict=not shape)


@pytest.mark.parametrize(("low", "high"), [(None, 1.0), (0.0, None), (0.0, 1.0), (None, None)])
def test_clamp(low: float | None, high: float | None) -> None:
    """One of two bounds at least."""
    agreed(
        "aten.clamp", [("float32", (2, 3))], {"min": low, "max": high}, lambda x: torch.clamp(x, low, high),
    )


@pytest.mark.parametrize("source", ["uint8", "int8", "int32", "int64", "bool", "float32", "float64"])
@pytest.mark.parametrize("wanted", ["uint8", "int8", "int32", "int64", "bool", "float32", "float64"])
def test_casts(source: str, wanted: str) -> None:
    """To real numbers or truth values, of another dtype."""
    found = inferred("aten._to_copy", [(source, (2, 3))], {}, (wanted, (2, 3)))
    is_cast = wanted in ("float32", "bool") and source not in (wanted, "float64")
    assert found == ((wanted, (2, 3)) if is_cast else None)


@pytest.mark.parametrize("operator", ["abs", "relu", "sigmoid", "gelu", "softmax"])
def test_integers_are_no_real_numbers(operator: str) -> None:
    """They are dequantized first."""
    attributes: dict[str, Attribute] = {"dim": 0} if operator == "softmax" else {}
    assert inferred(f"aten.{operator}", [("float32", (2,))], attributes) == ("float32", (2,))
    assert inferred(f"aten.{operator}", [("uint8", (2,))], attributes) is None
