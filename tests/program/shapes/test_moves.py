"""Types of what puts values elsewhere: what torch gives for any sizes and attributes, and a refusal where torch refuses."""
from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparkq.program.types import Attribute
from tests.program.shapes.agreement import Given, agreed, inferred

_SHAPES = st.lists(st.integers(1, 4), max_size=4).map(tuple)
_DTYPES = st.sampled_from(["float32", "uint8", "int8", "bool"])
_DIM = st.integers(-1, 4)


def _from_the_front(dim: int) -> int:
    """Programs count dimensions from the front alone, torch from the back as well."""
    if dim < 0:
        raise IndexError("a negative dimension")
    return dim


@settings(deadline=None, max_examples=300)
@given(_DTYPES, _SHAPES, st.lists(st.integers(1, 6), max_size=4).map(tuple))
def test_view(dtype: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    """As many values as before."""
    for sizes in (wanted, (math.prod(shape),), (*shape, 1), (1, *shape[::-1])):
        agreed("aten.view", [(dtype, shape)], {}, lambda x, sizes=sizes: x.reshape(sizes), declared=(dtype, sizes))


@settings(deadline=None, max_examples=300)
@given(_DTYPES, _SHAPES, st.lists(st.integers(1, 3), max_size=4).map(tuple))
def test_expand(dtype: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    """Only sizes of 1 are repeated, and dimensions are added in front."""
    stretched = tuple(size if size > 1 else 3 for size in shape)
    for sizes in (wanted, (2, *shape), stretched):
        agreed("aten.expand", [(dtype, shape)], {}, lambda x, sizes=sizes: x.expand(sizes), declared=(dtype, sizes))


@settings(deadline=None, max_examples=300)
@given(_DTYPES, _SHAPES, st.lists(st.tuples(_DTYPES, st.integers(0, 4), st.integers(1, 3)), max_size=3), _DIM)
def test_cat(dtype: str, shape: tuple[int, ...], others: list[tuple[str, int, int]], dim: int) -> None:
    """Tensors of one dtype that differ in one size alone; torch would turn one dtype into another, and skip what is empty."""
    inputs: list[Given] = [(dtype, shape)]
    for other, place, size in others:
        inputs.append((dtype if size > 1 else other, (*shape[:place], size, *shape[place + 1:])))
    strict = len({given[0] for given in inputs if isinstance(given, tuple)}) > 1
    agreed("aten.cat", inputs, {"dim": dim}, lambda *tensors: torch.cat(tensors, _from_the_front(dim)), strict=strict)


@settings(deadline=None, max_examples=300)
@given(_DTYPES, _SHAPES, st.lists(_DIM, max_size=4))
def test_permute_and_flip(dtype: str, shape: tuple[int, ...], dims: list[int]) -> None:
    """Every dimension once; a flip names some. torch flips a lone number as well."""
    for order in (tuple(dims), tuple(range(len(shape)))[::-1]):
        attributes: dict[str, Attribute] = {"dims": order}
        front = tuple(map(abs, order)) if min(order, default=0) >= 0 else (99,)
        agreed("aten.permute", [(dtype, shape)], attributes, lambda x, front=front: x.permute(front))
        agreed("aten.flip", [(dtype, shape)], attributes, lambda x, front=front: x.flip(front), strict=not shape)


@settings(deadline=None, max_examples=400)
@given(_DTYPES, _SHAPES, _DIM, st.integers(-1, 5), st.integers(-1, 5), st.integers(0, 3))
def test_select_and_slice(dtype: str, shape: tuple[int, ...], dim: int, start: int, end: int, step: int) -> None:
    """Within the tensor: torch counts from the back and cuts off what is too far, a program does neither."""
    size = shape[dim] if 0 <= dim < len(shape) else 0
    agreed(
        "aten.select", [(dtype, shape)], {"dim": dim, "index": start}, lambda x: x.select(_from_the_front(dim), start),
        strict=start < 0,
    )
    agreed(
        "aten.slice", [(dtype, shape)], {"dim": dim, "start": start, "end": end, "step": step},
        lambda x: torch.ops.aten.slice.Tensor(x, _from_the_front(dim), start, end, step),
        strict=start < 0 or not 0 <= end <= size,
    )


@settings(deadline=None, max_examples=200)
@given(_DTYPES, _SHAPES, st.lists(st.integers(1, 9), max_size=2).map(tuple), _DIM)
def test_index_select(dtype: str, shape: tuple[int, ...], index: tuple[int, ...], dim: int) -> None:
    """An index of one dimension; torch takes a lone number as well, and tensors without dimensions."""
    agreed(
        "aten.index_select", [(dtype, shape), ("int64", index)], {"dim": dim},
        lambda x, index: torch.index_select(x, _from_the_front(dim), index), strict=not index or not shape,
    )


@pytest.mark.parametrize("operator", ["view", "expand", "cat", "flip", "permute", "select", "slice"])
@pytest.mark.parametrize("dtype", ["int32", "int64", "float64"])
def test_what_only_constants_hold(operator: str, dtype: str) -> None:
    """Tables and scales stay what they are: engines move pixels, weights, truth values and real numbers."""
    by_name: dict[str, dict[str, Attribute]] = {
        "cat": {"dim": 0}, "flip": {"dims": (0,)}, "permute": {"dims": (0,)}, "select": {"dim": 0, "index": 0},
        "slice": {"dim": 0, "start": 0, "end": 2, "step": 1},
    }
    attributes = by_name.get(operator, {})
    assert inferred(f"aten.{operator}", [("float32", (2,))], attributes, ("float32", (2,)))
    assert inferred(f"aten.{operator}", [(dtype, (2,))], attributes, (dtype, (2,))) is None


_LEVELS: dict[str, Attribute] = {"scale": 0.5, "zero_point": 3, "quant_min": 0, "quant_max": 255}
_WRONG_LEVELS: dict[str, dict[str, Attribute]] = {
    "no scale": {"scale": 0.0}, "a negative scale": {"scale": -1.0}, "a scale below float32": {"scale": 1e-40},
    "an infinite scale": {"scale": math.inf}, "a zero point of int8": {"zero_point": -1},
    "a zero point above": {"zero_point": 256},
    "levels of int8": {"quant_min": -128}, "levels above": {"quant_max": 256}, "no levels": {"quant_min": 9, "quant_max": 9},
}


@pytest.mark.parametrize("change", _WRONG_LEVELS.values(), ids=_WRONG_LEVELS.keys())
def test_roundings_that_are_none(change: dict[str, Attribute]) -> None:
    """To uint8, with a scale that float32 can divide by."""
    operator = "quantized_decomposed.quantize_per_tensor"
    assert inferred(operator, [("float32", (2, 3))], _LEVELS) == ("uint8", (2, 3))
    assert inferred(operator, [("float32", (2, 3))], {**_LEVELS, **change}) is None


_WRONG_WEIGHTS: dict[str, list[Given]] = {
    "weights of uint8": [("uint8", (4, 3)), ("float64", (4,)), ("int64", (4,))],
    "a scale for all": [("int8", (4, 3)), ("float64", ()), ("int64", ())],
    "a scale too few": [("int8", (4, 3)), ("float64", (3,)), ("int64", (4,))],
    "a zero point too many": [("int8", (4, 3)), ("float64", (4,)), ("int64", (5,))],
    "zero points of int32": [("int8", (4, 3)), ("float64", (4,)), ("int32", (4,))],
    "whole scales": [("int8", (4, 3)), ("int64", (4,)), ("int64", (4,))],
}


@pytest.mark.parametrize("inputs", _WRONG_WEIGHTS.values(), ids=_WRONG_WEIGHTS.keys())
def test_weights_that_are_none(inputs: list[Given]) -> None:
    """int8 with a scale and a zero point a channel."""
    operator = "quantized_decomposed.dequantize_per_channel"
    right: list[Given] = [("int8", (4, 3)), ("float64", (4,)), ("int64", (4,))]
    assert inferred(operator, right, {"axis": 0}) == ("float32", (4, 3))
    assert inferred(operator, inputs, {"axis": 0}) is None
    assert inferred(operator, right, {"axis": 2}) is inferred(operator, right, {"axis": -1}) is None
