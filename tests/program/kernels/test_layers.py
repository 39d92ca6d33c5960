"""Kernels of layers: what torch computes, for any attributes of convolutions, masks of attention and parts left out of norms."""
from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from sparkq.program.types import Array, Attribute
from tests.program.cases import Case
from tests.program.kernels.comparing import assert_as_torch

_RANDOM = np.random.default_rng(0)


def _normal(*shape: int) -> Array:
    return _RANDOM.normal(size=shape).astype(np.float32)


def _pairs(least: int, most: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(least, most), st.integers(least, most))


@settings(deadline=None, max_examples=150)
@given(
    groups=st.integers(1, 3), each=_pairs(1, 3), kernel=_pairs(1, 4), stride=_pairs(1, 3), padding=_pairs(0, 3),
    dilation=_pairs(1, 3), more=_pairs(0, 4), images=st.integers(1, 3), bias=st.booleans(),
)
def test_conv2d_of_any_attributes(
    groups: int, each: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int],
    dilation: tuple[int, int], more: tuple[int, int], images: int, bias: bool,
) -> None:
    """Planes are at least as large as a kernel's reach, and by up to four larger."""
    height, width = (max(1, dilation[axis] * (kernel[axis] - 1) + 1 - 2 * padding[axis]) + more[axis] for axis in (0, 1))
    attributes: dict[str, Attribute] = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    x, weight = _normal(images, groups * each[0], height, width), _normal(groups * each[1], each[0], *kernel)
    assert_as_torch(Case(
        "aten.conv2d", [x, weight, _normal(groups * each[1]) if bias else None],
        lambda x, weight, bias: torch.conv2d(x, weight, bias, stride, padding, dilation, groups), attributes,
    ))


@settings(deadline=None, max_examples=150)
@given(
    groups=st.integers(1, 3), each=_pairs(1, 3), kernel=_pairs(1, 4), stride=_pairs(1, 3), dilation=_pairs(1, 3),
    size=_pairs(1, 5), bias=st.booleans(), drawn=st.data(),
)
def test_conv_transpose2d_of_any_attributes(
    groups: int, each: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int],
    size: tuple[int, int], bias: bool, drawn: st.DataObject,
) -> None:
    """Padding takes away at most what leaves a row and a column."""
    more, padding = [], []
    for axis in (0, 1):
        more.append(drawn.draw(st.integers(0, max(stride[axis], dilation[axis]) - 1)))
        full = (size[axis] - 1) * stride[axis] + dilation[axis] * (kernel[axis] - 1) + more[axis] + 1
        padding.append(drawn.draw(st.integers(0, (full - 1) // 2)))
    attributes: dict[str, Attribute] = {
        "stride": stride, "padding": tuple(padding), "output_padding": tuple(more), "dilation": dilation, "groups": groups,
    }
    x, weight = _normal(2, groups * each[0], *size), _normal(groups * each[0], each[1], *kernel)
    assert_as_torch(Case(
        "aten.conv_transpose2d", [x, weight, _normal(groups * each[1]) if bias else None],
        lambda x, weight, bias: torch.conv_transpose2d(x, weight, bias, stride, padding, more, groups, dilation), attributes,
    ))


def _masks(queries: int, keys: int) -> dict[str, Array | None]:
    some = _RANDOM.random((queries, keys)) > 0.4
    some[:, 0], without = True, some.copy()
    without[0] = False
    return {
        "none": None, "real": _normal(queries, keys), "a row": some[1:2], "truth": some, "a query without keys": without,
        "minus infinities": np.where(without, 0, -np.inf).astype(np.float32),
    }


@pytest.mark.parametrize("mask", _masks(2, 2))
@pytest.mark.parametrize("sizes", [(5, 5), (5, 7), (7, 5)], ids=str)
@pytest.mark.parametrize("heads", [(2, 3), ()], ids=str)
@pytest.mark.parametrize("scale", [None, 0.3])
def test_attention_with_a_mask(mask: str, sizes: tuple[int, int], heads: tuple[int, ...], scale: float | None) -> None:
    """A query that the mask leaves no key takes nothing, as in torch: zeros."""
    query, key, value = _normal(*heads, sizes[0], 4), _normal(*heads, sizes[1], 4), _normal(*heads, sizes[1], 6)
    for is_causal in (False, True) if mask == "none" else (False,):
        assert_as_torch(Case(
            "aten.scaled_dot_product_attention", [query, key, value, _masks(*sizes)[mask]], _attention(is_causal, scale),
            {"is_causal": is_causal, "scale": scale},
        ))


def _attention(is_causal: bool, scale: float | None) -> Callable[..., Tensor]:
    return lambda query, key, value, mask: F.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=is_causal, scale=scale,
    )


@pytest.mark.parametrize("left", [(), (2,), (2, 3), (1, 3)], ids=str)
@pytest.mark.parametrize("right", [(), (3,), (2, 1)], ids=str)
def test_matmul_stretches_what_is_in_front(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    """Sizes of 1 and missing dimensions are repeated."""
    if left == (2,) and right == (3,):
        left = (3,)
    assert_as_torch(Case("aten.matmul", [_normal(*left, 4, 5), _normal(*right, 5, 2)], torch.matmul))


@pytest.mark.parametrize("shape", [(2, 6, 4, 3), (2, 6, 5), (2, 6)], ids=str)
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("has_weight", [False, True])
def test_norms_of_channels(has_weight: bool, has_bias: bool, shape: tuple[int, ...]) -> None:
    """Any rank, any parts left out, any groups."""
    x, weight, bias = _normal(*shape), _normal(6) if has_weight else None, _normal(6) if has_bias else None
    mean, var = _normal(6), np.abs(_normal(6))
    assert_as_torch(Case(
        "aten.batch_norm", [x, weight, bias, mean, var],
        lambda x, weight, bias, mean, var: F.batch_norm(x, mean, var, weight, bias, eps=1e-3), {"eps": 1e-3},
    ))
    for groups in (1, 2, 3) if len(shape) == 2 else (1, 2, 3, 6):
        assert_as_torch(Case(
            "aten.group_norm", [x, weight, bias], _group_norm(groups), {"num_groups": groups, "eps": 1e-5},
        ), rtol=1e-9, atol=1e-10)


def _group_norm(groups: int) -> Callable[..., Tensor]:
    return lambda x, weight, bias: F.group_norm(x, groups, weight, bias, 1e-5)


@pytest.mark.parametrize("normalized", [(6,), (5, 6), (4, 5, 6)], ids=str)
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("has_weight", [False, True])
def test_norms_of_the_last_dimensions(has_weight: bool, has_bias: bool, normalized: tuple[int, ...]) -> None:
    """Any number of them, any parts left out."""
    x = _normal(2, 4, 5, 6)
    attributes: dict[str, Attribute] = {"normalized_shape": normalized, "eps": 1e-5}
    weight, bias = _normal(*normalized) if has_weight else None, _normal(*normalized) if has_bias else None
    assert_as_torch(Case(
        "aten.layer_norm", [x, weight, bias], lambda x, weight, bias: F.layer_norm(x, normalized, weight, bias, 1e-5), attributes,
    ))
    assert_as_torch(Case(
        "aten.rms_norm", [x, weight], lambda x, weight: F.rms_norm(x, normalized, weight, 1e-5), attributes,
    ))
