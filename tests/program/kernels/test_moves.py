"""Kernels of moves and of what changes between integers and reals: held against torch's own reference of INT8."""
from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
# Its import registers torch.ops.quantized_decomposed.
import torch.ao.quantization.fx._decomposed  # noqa: F401
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sparkq.program.interpreter import interpret_values
from sparkq.program.types import Array, Attribute
from tests.program.cases import Case
from tests.program.kernels.comparing import assert_as_torch
from tests.program.samples import IMAGE, one_operator

_DECOMPOSED: Any = torch.ops.quantized_decomposed
_LEVELS = [(3, 0, 255), (128, 0, 255), (0, 0, 127), (255, 10, 20)]
_X = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
_BYTES = np.arange(256, dtype=np.uint8)


def _quantized(x: Array, scale: float, levels: tuple[int, int, int]) -> Array:
    zero_point, low, high = levels
    attributes: dict[str, Attribute] = {"scale": scale, "zero_point": zero_point, "quant_min": low, "quant_max": high}
    program = one_operator("quantized_decomposed.quantize_per_tensor", [x], attributes)
    return interpret_values(program, IMAGE, ["result"])["result"]


@pytest.mark.parametrize("levels", _LEVELS, ids=str)
@pytest.mark.parametrize("scale", [0.25, 2.0**-7, 4.0])
def test_quantizing_where_every_middle_is_exact(scale: float, levels: tuple[int, int, int]) -> None:
    """Scales of powers of two: the same integers as torch's, ties to even and what is cut off included."""
    steps = np.concatenate([np.arange(-300, 300) + 0.5, np.arange(-300, 300), [1e9, -1e9, np.inf, -np.inf]])
    x = (steps * scale).astype(np.float32)
    expected = _DECOMPOSED.quantize_per_tensor(torch.from_numpy(x), scale, *levels, torch.uint8).numpy()
    got = _quantized(x, scale, levels)
    assert got.dtype == np.uint8 and np.array_equal(got, expected)
    assert {levels[1], levels[2]} <= set(got.tolist())


@settings(deadline=None, max_examples=100)
@given(st.floats(1e-4, 10), st.sampled_from(_LEVELS), st.integers(0, 2**32 - 1))
def test_quantizing_by_any_scale(scale: float, levels: tuple[int, int, int], seed: int) -> None:
    """The same integers as torch's in single precision, which is off only next to a middle."""
    steps = np.random.default_rng(seed).uniform(-300, 300, 500)
    x = (steps[np.abs(np.abs(steps) % 1 - 0.5) > 1e-3] * scale).astype(np.float32)
    expected = _DECOMPOSED.quantize_per_tensor(torch.from_numpy(x), scale, *levels, torch.uint8).numpy()
    assert np.array_equal(_quantized(x, scale, levels), expected)


@pytest.mark.parametrize(("scale", "zero_point"), [(0.25, 7), (0.1, 0), (1.7e-3, 255)])
def test_dequantizing_every_byte(scale: float, zero_point: int) -> None:
    """Below the zero point as well: uint8 must not wrap."""
    def expected(x: Tensor) -> Tensor:
        result: Tensor = _DECOMPOSED.dequantize_per_tensor(x, scale, zero_point, 0, 255, torch.uint8, out_dtype=torch.float64)
        return result

    assert_as_torch(Case(
        "quantized_decomposed.dequantize_per_tensor", [_BYTES], expected, {"scale": scale, "zero_point": zero_point},
    ))


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dequantizing_weights_along_any_axis(axis: int, dtype: type) -> None:
    """A scale and a zero point a channel, wherever the channels are, and of either kind."""
    weight = np.random.default_rng(1).integers(-128, 128, (4, 3, 2), dtype=np.int8)
    scales: Array = np.linspace(0.1, 0.7, weight.shape[axis]).astype(dtype)

    def expected(x: Tensor, scales: Tensor, zero_points: Tensor) -> Tensor:
        result: Tensor = _DECOMPOSED.dequantize_per_channel(
            x, scales, zero_points, axis, -128, 127, torch.int8, out_dtype=torch.float64,
        )
        return result

    assert_as_torch(Case(
        "quantized_decomposed.dequantize_per_channel", [weight, scales, np.arange(weight.shape[axis]) - 1], expected,
        {"axis": axis},
    ))


@pytest.mark.parametrize("dim", range(3))
@pytest.mark.parametrize("dtype", ["float32", "bool", "int8", "uint8"])
def test_moves_along_any_dimension(dtype: str, dim: int) -> None:
    """Real numbers, truth and integers of either sign stay what they are."""
    x = (_X * 50).astype(np.int8).astype(dtype)
    order, rows = (dim, *(other for other in range(3) if other != dim)), np.array([2, 0, 2])
    moves: dict[str, tuple[list[Array], dict[str, Attribute], Any]] = {
        "cat": ([x, x, x], {"dim": dim}, lambda *tensors: torch.cat(tensors, dim)),
        "flip": ([x], {"dims": (dim,)}, lambda x: x.flip(dim)),
        "index_select": ([x, rows], {"dim": dim}, lambda x, index: x.index_select(dim, index)),
        "permute": ([x], {"dims": order}, lambda x: x.permute(order)),
        "select": ([x], {"dim": dim, "index": 1}, lambda x: x.select(dim, 1)),
        "slice": ([x], {"dim": dim, "start": 1, "end": 3, "step": 2}, lambda x: x.index_select(dim, torch.tensor([1]))),
    }
    for name, (inputs, attributes, function) in moves.items():
        assert_as_torch(Case(f"aten.{name}", inputs, function, attributes), rtol=0, atol=0)
