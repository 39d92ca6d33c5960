"""Where values are known to lie: on the grid of a rounding to 8 bits, also behind operators that only hand them on."""
from __future__ import annotations

from dataclasses import replace
from typing import Any

from sparkq.engines.openvino_graph.call import Call, Grid, Value, number
from sparkq.engines.openvino_graph.library import openvino, ops

__all__ = ["LEVELS", "as_integers", "grid_behind", "on_one_grid", "rounded"]

LEVELS = 255
"""The largest 8-bit integer."""
_INTEGERS = Grid(1.0, 0, 0, LEVELS)
# Each of their values is one of their first input, or of any of them.
_MOVES = ("cat", "expand", "flip", "index_select", "max_pool2d", "permute", "select", "slice", "view")


def grid_behind(call: Call) -> Grid | None:
    """Return where the result's values lie if the operator only hands on values that lie on a grid; else None."""
    operator = call.node.operator.partition(".")[2]
    grids = [given.grid for given in (call.inputs if operator == "cat" else call.inputs[:1]) if isinstance(given, Value)]
    if not grids or grids[0] is None or any(grid != grids[0] for grid in grids):
        return None
    if operator == "relu":
        # Others are rounded once more behind it: OpenVINO has no INT8 kernels of what follows a ReLU with a zero point.
        return grids[0] if grids[0].is_positive() else None
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
