"""What rounds values to 8 bits: one node of OpenVINO for each rounding that is one, and none where values only move."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from sparkq.engines.openvino_graph.call import Call, Grid, Value, integers, number
from sparkq.engines.openvino_graph.fences import fenced
from sparkq.engines.openvino_graph.grids import LEVELS, as_integers, rounded
from sparkq.engines.openvino_graph.library import openvino, ops

__all__ = ["QUANTIZED"]


def _quantize(call: Call) -> Value:
    grid = Grid(*(call[name] for name in ("scale", "zero_point", "quant_min", "quant_max")))
    value = call.value()
    if value.grid is not None and value.grid.is_within(grid):
        return value
    if value.moved is not None:
        # Rounded first: bytes are moved, not floats, and the rounding stands where the values are computed, which fuses.
        source, move = value.moved
        found = _quantize(replace(call, inputs=(source,)))
        return Value(move(found), found.grid)
    # Some kernels leave out the first of two roundings one right behind the other.
    return Value(rounded((value if value.grid is None else fenced(value)).output, grid), grid)


def _dequantize(call: Call) -> Value:
    grid, value = Grid(call["scale"], call["zero_point"], 0, LEVELS), call.value()
    if value.grid is not None and value.grid.is_within(grid):
        return value
    found = as_integers(value)
    assert found.grid is not None
    real = ops.multiply(ops.subtract(found.output, number(grid.zero_point)), number(grid.scale))
    return Value(real, replace(grid, low=found.grid.low, high=found.grid.high))


def _dequantize_per_channel(call: Call) -> Value:
    """Int8 constant, conversion, subtraction, product: what OpenVINO takes for the weights of an INT8 kernel."""
    shape = [1] * len(call.type().shape)
    shape[call["axis"]] = -1
    zero_points, scales = call.value(2).array, call.value(1)
    assert zero_points is not None
    zeros = zero_points.reshape(shape).astype(np.float32)
    result: Any = ops.convert(call.tensor(), openvino.Type.f32)
    if zeros.any():
        result = ops.subtract(result, ops.constant(zeros))
    if scales.array is None:
        return Value(ops.multiply(result, ops.reshape(scales.output, integers(shape), False)))
    factors, weight = scales.array.reshape(shape).astype(np.float32), call.value().array
    return Value(
        ops.multiply(result, ops.constant(factors)),
        decoded=None if weight is None else lambda: (weight.astype(np.float32) - zeros) * factors,
    )


QUANTIZED: dict[str, Callable[[Call], Value]] = {
    "quantize_per_tensor": _quantize, "dequantize_per_tensor": _dequantize, "dequantize_per_channel": _dequantize_per_channel,
}
"""From a call to its value, by the name of a ``quantized_decomposed`` operator."""
