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

_GRAPH, _METADATA = "program", "__metadata__"
_LENGTH_BYTES = 8
# Graphs of the largest networks are below two megabytes. What JSON stands for can be fifty times as large in memory.
_MOST_HEADER_BYTES = 2**23
_MOST_RANK, _MOST_SIZE = 8, 2**40
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
    if _METADATA in program.constants:
        raise ValueError(f"constant {_METADATA}: expected another name; the file keeps its own notes there")
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
    payload = save(tensors, metadata={_GRAPH: json.dumps(graph, allow_nan=False, separators=(",", ":"))})
    # A graph too long is not written either.
    _header_length(payload)
    return payload


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
        length = _header_length(payload)
        header = _parsed(payload[_LENGTH_BYTES:_LENGTH_BYTES + length])
        graph = _parsed(header.pop(_METADATA)[_GRAPH].encode())
        program = _program(graph, _constants(header, payload, _LENGTH_BYTES + length))
        check_program(program)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
        raise ArtifactFormatError(
            f"{place}: expected a quantized program; got one that is none ({reason[:600]}).", hint="quantize the model again.",
        ) from error
    return program


def _header_length(payload: bytes) -> int:
    if len(payload) < _LENGTH_BYTES:
        raise ValueError("it ends before its header")
    length = int(struct.unpack("<Q", payload[:_LENGTH_BYTES])[0])
    if length > min(len(payload) - _LENGTH_BYTES, _MOST_HEADER_BYTES):
        raise ValueError(f"its header is said to be {length} bytes long")
    return length


def _parsed(text: bytes) -> dict[str, Any]:
    """Parse JSON in UTF-8 without what one reader takes for one thing, and another for another."""
    found: dict[str, Any] = json.loads(text.decode(), parse_constant=_no_constant, object_pairs_hook=_with_keys_once)
    return found


def _with_keys_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands there twice")
    return found


def _constants(header: dict[str, Any], payload: bytes, start: int) -> dict[str, Array]:
    """Return views of the payload: what the safetensors package gives are copies, as large as the model once more."""
    found, expected = {}, 0
    for first, last, name, dtype, shape in sorted(_entry(name, entry) for name, entry in header.items()):
        itemsize = np.dtype(dtype).itemsize
        # The format has neither holes nor overlaps.
        if first != expected or last - first != math.prod(shape) * itemsize or last > len(payload) - start:
            raise ValueError(f"constant {name!r} lies at {first} to {last}, of {len(payload) - start} bytes")
        # They are read where they lie, with instructions that may take it for granted.
        if (start + first) % itemsize:
            raise ValueError(f"constant {name!r} lies at byte {start + first}, not at a multiple of {itemsize}")
        found[name] = np.frombuffer(payload, dtype, math.prod(shape), start + first).reshape(shape)
        if dtype == "bool" and (found[name].view(np.uint8) > 1).any():
            raise ValueError(f"constant {name!r} holds other bytes than 0 and 1")
        expected = last
    if expected != len(payload) - start:
        raise ValueError(f"its constants end at {expected}, of {len(payload) - start} bytes")
    return dict(sorted(found.items()))


def _entry(name: str, entry: dict[str, Any]) -> tuple[int, int, str, str, tuple[int, ...]]:
    """Where a constant begins and ends, its name, dtype and shape: numbers small enough to compute with."""
    dtype, shape, (first, last) = _DTYPES[entry["dtype"]], entry["shape"], entry["data_offsets"]
    if not _is_whole(shape) or not _is_whole([first, last]) or len(shape) > _MOST_RANK or not all(
        0 <= number < _MOST_SIZE for number in (*shape, first, last)
    ):
        raise ValueError(f"constant {name!r} has no sizes or no place")
    return first, last, name, dtype, tuple(shape)


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no number")


def _program(graph: dict[str, Any], constants: dict[str, Array]) -> Program:
    nodes = tuple(
        Node(
            _word(node["name"]), _word(node["operator"]), tuple(_argument(given) for given in _items(node["inputs"])),
            {key: _attribute(value) for key, value in node["attributes"].items()}, _type(node["dtype"], node["shape"]),
        )
        for node in _items(graph["nodes"])
    )
    return Program(_type("uint8", graph["input"]), constants, nodes, _word(graph["output"]))


def _items(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"expected a list; got {type(value).__name__}")
    return value


def _word(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected a word; got {type(value).__name__}")
    return value


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
    if not _is_whole(shape):
        raise ValueError("expected a shape to be a list of whole numbers")
    return ValueType(_word(dtype), tuple(_items(shape)))


def _is_whole(value: object) -> bool:
    return isinstance(value, list) and all(type(number) is int for number in value)
