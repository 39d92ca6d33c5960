"""Types of what is computed value by value, and over dimensions."""
from __future__ import annotations

from sparkq.program.shapes.call import Call, Result, Shape, broadcast, expect

__all__ = ["arithmetic", "cast", "comparison", "logical", "reduction", "same", "where"]


def _tensors(call: Call, *dtypes: str) -> list[Shape]:
    found = [call.tensor(index, *dtypes) for index, given in enumerate(call.inputs) if isinstance(given, tuple)]
    expect(bool(found) and all(given is not None for given in call.inputs), "at least one tensor, and no input left out")
    return found


def same(call: Call) -> Result:
    """Float values of the shape of the first input; a flip moves integers as well."""
    dtypes = ("float32", "uint8", "int8", "bool") if "dims" in call.attributes else ("float32",)
    shape = call.tensor(0, *dtypes)
    if "min" in call.attributes:
        expect(call.number("min") is not None or call.number("max") is not None, "a min or a max")
    for name in ("dim", "dims"):
        if name in call.attributes:
            (call.dim if name == "dim" else call.dims)(name, len(shape))
    return _dtype(call, 0), shape


def _dtype(call: Call, index: int) -> str:
    found = call.inputs[index]
    assert isinstance(found, tuple)
    return found[0]


def arithmetic(call: Call) -> Result:
    """Two tensors, or a tensor and a number."""
    return "float32", broadcast(*_tensors(call))


def comparison(call: Call) -> Result:
    """Two float tensors, or one and a number, to bool."""
    return "bool", broadcast(*_tensors(call))


def logical(call: Call) -> Result:
    """Bool tensors to bool."""
    return "bool", broadcast(*_tensors(call, "bool"))


def where(call: Call) -> Result:
    """A bool tensor that chooses between two float tensors or numbers."""
    shapes = [call.tensor(0, "bool")]
    shapes += [call.tensor(index) for index in (1, 2) if isinstance(call.inputs[index], tuple)]
    expect(None not in call.inputs, "no input left out")
    return "float32", broadcast(*shapes)


def cast(call: Call) -> Result:
    """Anything but float64 to float32 or bool."""
    shape = call.tensor(0, "uint8", "int8", "int32", "int64", "bool", "float32")
    expect(call.declared[0] in ("float32", "bool"), f"float32 or bool, not {call.declared[0]}")
    # An engine may hand on the tensor itself, and compute the next value in its place.
    expect(_dtype(call, 0) != call.declared[0], "a dtype that is another")
    return call.declared[0], shape


def reduction(call: Call) -> Result:
    """A number over some dimensions."""
    shape = call.tensor(0)
    dims = call.dims("dim", len(shape))
    expect(bool(dims), "at least one dimension in dim")
    if call.number("keepdim"):
        return "float32", tuple(1 if dim in dims else size for dim, size in enumerate(shape))
    return "float32", tuple(size for dim, size in enumerate(shape) if dim not in dims)
