"""Where values are known to lie: on the grid of a rounding to 8 bits, also behind operators that only hand them on."""
from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from sparkq.engines.openvino_graph.call import Call, Grid, Value, number
from sparkq.engines.openvino_graph.library import openvino, ops

__all__ = ["LEVELS", "as_integers", "fenced", "grid_behind", "needs_fence", "on_one_grid", "rounded"]

LEVELS = 255
"""The largest 8-bit integer."""
_INTEGERS = Grid(1.0, 0, 0, LEVELS)
# Each of their values is one of their first input, or of any of them.
_MOVES = ("cat", "expand", "flip", "index_select", "max_pool2d", "permute", "select", "slice", "view")
_QUANTIZE = "quantized_decomposed.quantize_per_tensor"


def grid_behind(call: Call) -> Grid | None:
    """Return where the result's values lie if the operator only hands on values that lie on a grid; else None."""
    operator = call.node.operator.partition(".")[2]
    grids = [given.grid for given in (call.inputs if operator == "cat" else call.inputs[:1]) if isinstance(given, Value)]
    if not grids or grids[0] is None or any(grid != grids[0] for grid in grids):
        return None
    zeros = operator == "pad" and (call["mode"] != "constant" or call["value"] == 0 and grids[0].has_zero())
    return grids[0] if zeros or operator in _MOVES else None


def as_integers(value: Value) -> Value:
    """Return the 8-bit integers themselves, in float32."""
    if value.grid is None:
        return Value(ops.convert(value.output, openvino.Type.f32), _INTEGERS)
    if value.grid.scale == 1 and value.grid.zero_point == 0:
        return value
    steps = ops.round(ops.multiply(value.output, number(1 / value.grid.scale)), "half_to_even")
    return Value(ops.add(steps, number(value.grid.zero_point)), replace(_INTEGERS, low=value.grid.low, high=value.grid.high))


def on_one_grid(call: Call) -> Call:
    """Return a call whose 8-bit integers mean the same numbers: those on different grids become the integers themselves."""
    values = [given for given in call.inputs if isinstance(given, Value)]
    if len({given.grid and (given.grid.scale, given.grid.zero_point) for given in values}) <= 1:
        return call
    return replace(call, inputs=tuple(replace(as_integers(value), grid=_INTEGERS) for value in values))


def rounded(values: Any, grid: Grid) -> Any:
    """Return real numbers, rounded to those of a grid."""
    low, high = (number((k - grid.zero_point) * grid.scale) for k in (grid.low, grid.high))
    return ops.fake_quantize(values, low, high, low, high, grid.high - grid.low + 1)


def fenced(call: Call) -> Call:
    """Return a call that OpenVINO's low-precision transformations do not see what it reads as 8-bit integers.

    They carry the integers through operators, and are not exact in all of them: averages are rounded, concatenated values on
    different grids are brought to one, limits are rounded. They do not pass an operator that they do not know.
    """
    return replace(call, inputs=tuple(
        replace(given, output=ops.maximum(given.output, number(np.finfo(np.float32).min)))
        if isinstance(given, Value) and given.grid is not None else given for given in call.inputs
    ))


def needs_fence(call: Call) -> bool:
    """Tell whether an operator reads values on grids, and OpenVINO would not compute it exactly if it knew."""
    operator = call.node.operator.partition(".")[2]
    grids = {given.grid for given in call.inputs if isinstance(given, Value)}
    if grids == {None} or call.type().dtype != "float32":
        return False
    # What is rounded next is exact.
    if operator in ("adaptive_avg_pool2d", "avg_pool2d", "cat") and all(reader.operator == _QUANTIZE for reader in call.readers):
        return False
    return operator in ("adaptive_avg_pool2d", "avg_pool2d", "clamp") or operator == "cat" and len(grids) > 1
