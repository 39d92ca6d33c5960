"""Programs as bytes: one safetensors file, whose tensors are the constants and whose metadata holds the graph as JSON."""
from __future__ import annotations

import json
import math
import struct
from typing import Any

import numpy as np
from safetensors.numpy import save

from sparkq.errors import ArtifactFormatError
from sparkq.program.types import Argument, Array, Attribute, Node, Program, ValueType
from sparkq.program.validate import check_program

__all__ = ["dumps_program", "loads_program"]

_GRAPH = "program"
_LENGTH_BYTES = 8
# Graphs of the largest networks are below two megabytes.
_MOST_HEADER_BYTES = 2**26
_DTYPES = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "I32": "int32", "I64": "int64", "F32": "float32", "F64": "float64",
}
_INFINITIES = {"Infinity": math.inf, "-Infinity": -math.inf}


def dumps_program(program: Program) -> bytes:
    """Write a program; the same one always gives the same bytes.

    Raises
    ------
    ValueError
        If it is not one that `loads_program` would read.
    """
    check_program(program)
    graph = {
        "input": list(program.input.shape),
        "nodes": [
            {
                "name": node.name, "operator": node.operator, "inputs": list(node.inputs),
                "attributes": {key: _plain(value) for key, value in sorted(node.attributes.items())},
                "dtype": node.type.dtype, "shape": list(node.type.shape),
            }
            for node in program.nodes
        ],
        "output": program.output,
    }
    tensors = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in program.constants.items()}
    return save(tensors, metadata={_GRAPH: json.dumps(graph, allow_nan=False, separators=(",", ":"))})


def _plain(value: Attribute) -> object:
    if isinstance(value, float) and math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return list(value) if isinstance(value, tuple) else value


def loads_program(payload: bytes, *, place: str = "payload") -> Program:
    """Read a program and check it whole; nothing of it is run.

    Parameters
    ----------
    payload : bytes
        What `dumps_program` gave.
    place : str
        Its name in errors.

    Raises
    ------
    ArtifactFormatError
        If it is anything else.
    """
    try:
        header, start = _header(payload)
        graph: dict[str, Any] = json.loads(header.pop("__metadata__")[_GRAPH], parse_constant=_no_constant)
        program = _program(graph, _constants(header, payload, start))
        check_program(program)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
        raise ArtifactFormatError(
            f"{place}: expected a quantized program; got one that is none ({reason[:600]}).", hint="quantize the model again.",
        ) from error
    return program


def _header(payload: bytes) -> tuple[dict[str, Any], int]:
    """Return the header, and where the tensors begin."""
    if len(payload) < _LENGTH_BYTES:
        raise ValueError("it ends before its header")
    length = struct.unpack("<Q", payload[:_LENGTH_BYTES])[0]
    if length > min(len(payload) - _LENGTH_BYTES, _MOST_HEADER_BYTES):
        raise ValueError(f"its header is said to be {length} bytes long")
    start = _LENGTH_BYTES + length
    header: dict[str, Any] = json.loads(payload[_LENGTH_BYTES:start], parse_constant=_no_constant)
    return header, start


def _constants(header: dict[str, Any], payload: bytes, start: int) -> dict[str, Array]:
    """Return views of the payload: what the safetensors package gives are copies, as large as the model once more."""
    found, expected = {}, 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        dtype, shape, (first, last) = np.dtype(_DTYPES[entry["dtype"]]), entry["shape"], entry["data_offsets"]
        _type(str(dtype), shape)
        if any(size < 0 for size in shape) or type(first) is not int or type(last) is not int:
            raise ValueError(f"constant {name} has no sizes")
        # The format has neither holes nor overlaps.
        if first != expected or last - first != math.prod(shape) * dtype.itemsize or last > len(payload) - start:
            raise ValueError(f"constant {name} lies at {first} to {last}, of {len(payload) - start} bytes")
        # They are read where they lie, with instructions that may take it for granted.
        if (start + first) % dtype.itemsize:
            raise ValueError(f"constant {name} lies at byte {start + first}, not at a multiple of {dtype.itemsize}")
        found[name] = np.frombuffer(payload, dtype, math.prod(shape), start + first).reshape(shape)
        if dtype == np.bool_ and (found[name].view(np.uint8) > 1).any():
            raise ValueError(f"constant {name} holds other bytes than 0 and 1")
        expected = last
    if expected != len(payload) - start:
        raise ValueError(f"its constants end at {expected}, of {len(payload) - start} bytes")
    return dict(sorted(found.items()))


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no number")


def _program(graph: dict[str, Any], constants: dict[str, Array]) -> Program:
    nodes = tuple(
        Node(
            str(node["name"]), str(node["operator"]), tuple(_argument(given) for given in node["inputs"]),
            {str(key): _attribute(value) for key, value in node["attributes"].items()}, _type(node["dtype"], node["shape"]),
        )
        for node in graph["nodes"]
    )
    return Program(_type("uint8", graph["input"]), constants, nodes, str(graph["output"]))


def _argument(given: object) -> Argument:
    if given is None or isinstance(given, (str, int, float)):
        return given
    raise ValueError(f"expected an input to be a name or a number; got {type(given).__name__}")


def _attribute(value: object) -> Attribute:
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, str):
        return _INFINITIES.get(value, value)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    raise ValueError(f"expected an attribute to be a number, a word or a list; got {type(value).__name__}")


def _type(dtype: object, shape: object) -> ValueType:
    if not isinstance(shape, list) or not all(isinstance(size, int) and not isinstance(size, bool) for size in shape):
        raise ValueError("expected a shape to be a list of whole numbers")
    return ValueType(str(dtype), tuple(shape))
