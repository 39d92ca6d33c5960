"""Types of layers: what torch gives for any sizes and attributes, and a refusal where torch refuses."""
from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from sparkq.program.types import Attribute
from tests.program.shapes.agreement import Given, agreed, inferred

_FEW = st.integers(1, 3)


def _pairs(least: int, most: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(least, most), st.integers(least, most))


@st.composite
def _convolutions(draw: st.DrawFn) -> tuple[list[Given], dict[str, Any]]:
    """Sizes and attributes; one in some draws fits nothing."""
    groups, inside, outside = draw(_FEW), draw(_FEW), draw(_FEW)
    odd = draw(st.sampled_from([0, 0, 0, 1]))
    images = (draw(_FEW), groups * inside + odd, *draw(_pairs(1, 12)))
    weight = (groups * outside, inside, *draw(_pairs(1, 5)))
    bias: Given = draw(st.sampled_from([None, ("float32", (groups * outside,)), ("float32", (groups * outside + 1,))]))
    return [("float32", images), ("float32", weight), bias], {
        "stride": draw(_pairs(1, 4)), "padding": draw(_pairs(0, 4)), "dilation": draw(_pairs(1, 3)), "groups": groups,
    }


@settings(deadline=None, max_examples=300)
@given(_convolutions())
def test_conv2d(case: tuple[list[Given], dict[str, Any]]) -> None:
    """Kernels larger than the plane, channels and biases that do not fit are refused."""
    inputs, attributes = case
    agreed("aten.conv2d", inputs, attributes, lambda x, w, b: torch.conv2d(x, w, b, **attributes))


@settings(deadline=None, max_examples=300)
@given(_convolutions(), _pairs(0, 4))
def test_conv_transpose2d(case: tuple[list[Given], dict[str, Any]], more: tuple[int, int]) -> None:
    """The weight's first size is the input's; what is added to the output stays below stride or dilation."""
    (images, weight, bias), attributes = case
    assert isinstance(weight, tuple) and (bias is None or isinstance(bias, tuple))
    turned: Given = ("float32", (weight[1][1] * attributes["groups"], weight[1][0] // attributes["groups"], *weight[1][2:]))
    attributes["output_padding"] = more
    agreed(
        "aten.conv_transpose2d", [images, turned, bias], attributes,
        lambda x, w, b: torch.conv_transpose2d(x, w, b, **attributes),
    )


@pytest.mark.parametrize("name", ["stride", "padding", "dilation"])
@pytest.mark.parametrize("value", [(1,), (1, 1, 1), (-1, 1), (2**16, 1), (2**31 - 1, 2**31 - 1)], ids=str)
def test_numbers_that_no_kernel_counts_with(name: str, value: tuple[int, ...]) -> None:
    """Two of each, none below zero, and none whose sums do not fit into 32 bits."""
    attributes: dict[str, Attribute] = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}
    inputs: list[Given] = [("float32", (1, 1, 4, 4)), ("float32", (1, 1, 1, 1)), None]
    assert inferred("aten.conv2d", inputs, attributes)
    assert inferred("aten.conv2d", inputs, {**attributes, name: value}) is None


@settings(deadline=None, max_examples=200)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(1, 4), st.integers(1, 4), st.sampled_from([None, 0, 1]))
def test_linear(rows: list[int], outputs: int, inside: int, odd: int | None) -> None:
    """Any number of rows, in any number of dimensions."""
    bias: Given = None if odd is None else ("float32", (outputs + odd,))
    inputs: list[Given] = [("float32", tuple(rows)), ("float32", (outputs, inside)), bias]
    agreed("aten.linear", inputs, {}, F.linear)


_MATRICES = st.lists(st.sampled_from([1, 1, 2, 3]), min_size=1, max_size=5).map(tuple)


@settings(deadline=None, max_examples=400)
@given(_MATRICES, _MATRICES)
def test_matmul(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    """Sizes of 1 in front are stretched. Vectors, which torch takes as well, are refused."""
    agreed("aten.matmul", [("float32", left), ("float32", right)], {}, torch.matmul, strict=min(len(left), len(right)) < 2)


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_attention(data: st.DataObject) -> None:
    """As many heads of queries, keys and values; a mask is stretched to the scores. Not all of torch's kernels refuse both."""
    heads = data.draw(st.lists(_FEW, max_size=2).map(tuple))
    queries, keys, inside, outside = (data.draw(_FEW) for _ in range(4))
    key = (*heads, keys, inside + data.draw(st.sampled_from([0, 0, 0, 1])))
    masks: list[Given] = [
        None, ("float32", (queries, keys)), ("bool", (*heads, queries, keys)), ("bool", (1, keys)),
        ("float32", (queries, keys + 1)),
    ]
    inputs: list[Given] = [
        ("float32", (*heads, queries, inside)), ("float32", key), ("float32", (*heads, keys, outside)),
        data.draw(st.sampled_from(masks)),
    ]
    attributes: dict[str, Any] = {"is_causal": data.draw(st.booleans()), "scale": data.draw(st.sampled_from([None, 0.5]))}
    agreed(
        "aten.scaled_dot_product_attention", inputs, attributes,
        lambda q, k, v, mask: F.scaled_dot_product_attention(q, k, v, attn_mask=mask, **attributes),
        strict=attributes["is_causal"] and inputs[3] is not None,
    )


def test_a_mask_or_the_causal_one() -> None:
    """Not both: kernels of torch differ in what they make of it."""
    inputs: list[Given] = [("float32", (2, 4, 3))] * 3
    mask: Given = ("bool", (4, 4))
    for last, is_causal, taken in ((None, True, True), (mask, False, True), (mask, True, False)):
        attributes: dict[str, Attribute] = {"is_causal": is_causal, "scale": None}
        found = inferred("aten.scaled_dot_product_attention", [*inputs, last], attributes)
        assert found == (("float32", (2, 4, 3)) if taken else None)


_SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=5).map(tuple)


@settings(deadline=None, max_examples=300)
@given(
    _SHAPES, st.lists(st.sampled_from([None, 0, 0, 0, 1]), min_size=4, max_size=4), st.sampled_from([0.0, 1e-5, -1.0, math.inf]),
)
def test_batch_norm(shape: tuple[int, ...], odd: list[int | None], eps: float) -> None:
    """A number for each channel; mean and variance must be there. Most of torch's kernels take a negative eps, but not all."""
    channels = shape[1] if len(shape) > 1 else 1
    inputs: list[Given] = [("float32", shape), *(None if more is None else ("float32", (channels + more,)) for more in odd)]
    agreed(
        "aten.batch_norm", inputs, {"eps": eps},
        # With its own tensors left out it would take the batch's numbers.
        lambda x, w, b, m, v: torch.batch_norm(x, w, b, _there(m), _there(v), False, 0.0, eps, False),
        strict=eps < 0 or math.isinf(eps),
    )


def _there(value: Any) -> Any:
    if value is None:
        raise ValueError("no tensor")
    return value


@settings(deadline=None, max_examples=300)
@given(_SHAPES, st.integers(1, 4), st.sampled_from([None, 0, 1]))
def test_group_norm(shape: tuple[int, ...], groups: int, odd: int | None) -> None:
    """Groups divide the channels, and hold more than one value even of one image."""
    one = (1, *shape[1:])
    numbers: Given = None if odd is None else ("float32", (one[1] + odd if len(one) > 1 else 1,))
    agreed(
        "aten.group_norm", [("float32", one), numbers, numbers], {"num_groups": groups, "eps": 1e-5},
        lambda x, w, b: F.group_norm(x, groups, w, b, 1e-5),
    )


@settings(deadline=None, max_examples=300)
@given(_SHAPES, st.lists(st.integers(1, 4), max_size=3).map(tuple), st.integers(0, 4), st.booleans())
def test_layer_norm_and_rms_norm(shape: tuple[int, ...], other: tuple[int, ...], last: int, with_weight: bool) -> None:
    """Over the last dimensions, whose sizes the attribute repeats."""
    normalized = shape[len(shape) - last:] if last <= len(shape) else other
    weight: Given = ("float32", normalized) if with_weight else None
    attributes: dict[str, Attribute] = {"normalized_shape": normalized, "eps": 1e-5}
    agreed(
        "aten.layer_norm", [("float32", shape), weight, weight], attributes,
        lambda x, w, b: F.layer_norm(x, normalized, w, b, 1e-5),
    )
    agreed("aten.rms_norm", [("float32", shape), weight], attributes, lambda x, w: F.rms_norm(x, normalized, w, 1e-5))


@pytest.mark.parametrize("operator", ["aten.linear", "aten.matmul"])
def test_integers_are_no_real_numbers(operator: str) -> None:
    """They are dequantized first."""
    inputs: list[Given] = [("uint8", (2, 3)), ("float32", (3, 3)), None]
    assert inferred(operator, inputs, {}) is None
