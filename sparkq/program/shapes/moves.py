"""Types of what puts values elsewhere, and of what changes between integers and floats."""
from __future__ import annotations

import math

from sparkq.program.shapes.call import Call, Result, Shape, broadcast, expect

__all__ = [
    "cat", "dequantize", "dequantize_per_channel", "expand", "full", "index_select", "permute", "quantize", "select", "slice_",
    "view",
]

_LEVELS = 255
_MOVED = ("float32", "uint8", "int8", "bool")


def _moved(call: Call) -> tuple[str, Shape]:
    """Return the dtype and sizes of the first input."""
    shape = call.tensor(0, *_MOVED)
    found = call.inputs[0]
    assert isinstance(found, tuple)
    return found[0], shape


def view(call: Call) -> Result:
    """The same values in the same order, in the shape that the node declares."""
    dtype, shape = _moved(call)
    expect(math.prod(shape) == math.prod(call.declared[1]), f"as many values as {list(shape)} has")
    return dtype, call.declared[1]


def expand(call: Call) -> Result:
    """Sizes of 1 repeated to the shape that the node declares."""
    dtype, shape = _moved(call)
    expect(broadcast(shape, call.declared[1]) == call.declared[1], f"a shape that {list(shape)} broadcasts to")
    return dtype, call.declared[1]


def full(call: Call) -> Result:
    """One number in the shape that the node declares."""
    return "float32", call.declared[1]


def cat(call: Call) -> Result:
    """Tensors one after the other."""
    dtype, first = _moved(call)
    dim = call.dim("dim", len(first))
    shapes = [call.tensor(index, dtype) for index in range(len(call.inputs))]
    others = {(*shape[:dim], *shape[dim + 1:]) for shape in shapes}
    expect(len(others) == 1 and all(len(shape) == len(first) for shape in shapes), "tensors that differ in dim alone")
    return dtype, (*first[:dim], sum(shape[dim] for shape in shapes), *first[dim + 1:])


def index_select(call: Call) -> Result:
    """Rows of a dimension, by their numbers; the numbers themselves are checked where the constant is known."""
    dtype, shape = _moved(call)
    dim, index = call.dim("dim", len(shape)), call.tensor(1, "int64")
    expect(len(index) == 1, "an index of one dimension")
    return dtype, (*shape[:dim], index[0], *shape[dim + 1:])


def permute(call: Call) -> Result:
    """Dimensions in another order."""
    dtype, shape = _moved(call)
    dims = call.dims("dims", len(shape))
    expect(len(dims) == len(shape), "every dimension in dims")
    return dtype, tuple(shape[dim] for dim in dims)


def select(call: Call) -> Result:
    """One row of a dimension, which goes."""
    dtype, shape = _moved(call)
    dim, index = call.dim("dim", len(shape)), call.number("index")
    expect(0 <= index < shape[dim], f"an index below {shape[dim]}")
    return dtype, (*shape[:dim], *shape[dim + 1:])


def slice_(call: Call) -> Result:
    """Every ``step``-th row of a dimension, from ``start`` to before ``end``."""
    dtype, shape = _moved(call)
    dim = call.dim("dim", len(shape))
    start, end, step = (call.number(name) for name in ("start", "end", "step"))
    expect(0 <= start < end <= shape[dim] and step >= 1, f"start, end and step within {shape[dim]}")
    return dtype, (*shape[:dim], (end - start + step - 1) // step, *shape[dim + 1:])


def quantize(call: Call) -> Result:
    """float32 to uint8: ``clamp(round(x / scale) + zero_point, quant_min, quant_max)``, ties to even."""
    shape = call.tensor(0)
    low, high = call.number("quant_min"), call.number("quant_max")
    expect(0 <= low < high <= _LEVELS, "quant_min and quant_max of uint8")
    _check_scale(call)
    return "uint8", shape


def dequantize(call: Call) -> Result:
    """uint8 to float32: ``(x - zero_point) * scale``."""
    _check_scale(call)
    return "float32", call.tensor(0, "uint8")


def _check_scale(call: Call) -> None:
    expect(2.0**-100 < call.number("scale") < 2.0**100, "a scale that float32 can hold and divide by")
    expect(0 <= call.number("zero_point") <= _LEVELS, "a zero point of uint8")


def dequantize_per_channel(call: Call) -> Result:
    """int8 weights to float32: ``(x - zero_points[c]) * scales[c]`` along ``axis``."""
    shape = call.tensor(0, "int8")
    axis = call.dim("axis", len(shape))
    scales, zero_points = call.tensor(1, "float64", "float32"), call.tensor(2, "int64")
    expect(scales == zero_points == (shape[axis],), "a scale and a zero point a channel")
    return "float32", shape
