"""The sizes that an ONNX file announces: bytes of tensors that are not there yet, told before they are made."""
from __future__ import annotations

import importlib
import math
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from sparkq.float_models.graph_builder import UnsupportedError

__all__ = ["announced_bytes", "external_bytes", "inlined_bytes"]

_TABLE_NUMBERS = 4096
"""Shapes, axes and repetitions are shorter; only their numbers say how large a result is."""
_AT_MOST_THEIR_INPUT = ("Compress", "NonZero", "Unique")
"""Operators whose result depends on numbers; coordinates of every number, eight bytes a dimension, are the most."""
_EXTERNAL = 1


def external_bytes(model: Any, folder: str) -> tuple[int, int]:
    """Bytes of the files beside `model` that weights lie in, and of those weights; several may lie in the same place.

    Raises
    ------
    UnsupportedError
        If a file is a pipe or a device, which may never end.
    """
    sizes: dict[str, int] = {}
    announced = 0
    for tensor in _external_tensors(model.graph):
        entries = {entry.key: entry.value for entry in tensor.external_data}
        # onnx itself refuses paths that lead out of the folder, and links.
        path = os.path.join(folder, entries.get("location", ""))
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise UnsupportedError(f"weights in {entries.get('location')!r}, which is no ordinary file")
        sizes[path] = status.st_size
        announced += int(entries.get("length") or status.st_size)
    return sum(sizes.values()), announced


def _external_tensors(graph: Any) -> Iterator[Any]:
    tensors = [*graph.initializer, *(attribute.t for node in graph.node for attribute in node.attribute)]
    yield from (tensor for tensor in tensors if tensor.data_location == _EXTERNAL)
    for node in graph.node:
        for inner in _graphs(node):
            yield from _external_tensors(inner)


def inlined_bytes(model: Any) -> int:
    """Bytes of the nodes that `model` has once its local functions are put in the place of their calls.

    Functions that call functions can make a few hundred bytes any number of nodes.

    Raises
    ------
    UnsupportedError
        If a function calls itself.
    """
    functions = {(function.domain, function.name, function.overload): function for function in model.functions}
    known: dict[tuple[str, str, str], int] = {}
    open_calls: set[tuple[str, str, str]] = set()

    def total(nodes: Iterable[Any]) -> int:
        return sum(of(node) for node in nodes)

    def of(node: Any) -> int:
        key = (node.domain, node.op_type, node.overload)
        inner = sum(total(graph.node) for graph in _graphs(node))
        if key not in functions:
            return int(node.ByteSize()) + inner
        if key in open_calls:
            raise UnsupportedError(f"function {node.op_type}, which calls itself")
        if key not in known:
            open_calls.add(key)
            known[key] = total(functions[key].node)
            open_calls.remove(key)
        return known[key] + inner

    return total(model.graph.node)


def _graphs(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def announced_bytes(onnx: Any, model: Any, given: Mapping[str, npt.NDArray[Any]]) -> int:
    """Bytes of the results of a model of one node on constants, as ONNX's shape inference tells them.

    Raises
    ------
    UnsupportedError
        If it does not tell them.
    """
    tables = {name: array for name, array in given.items() if array.size <= _TABLE_NUMBERS}
    told = type(model)()
    told.CopyFrom(model)
    told.graph.initializer.extend(
        onnx.numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in tables.items()
    )
    node = model.graph.node[0]
    if node.op_type in _AT_MOST_THEIR_INPUT:
        return sum(array.size * 8 * max(array.ndim, 1) + array.nbytes for array in given.values())
    inferred = importlib.import_module("onnx.shape_inference").infer_shapes(told, strict_mode=True, data_prop=True)
    return sum(_value_bytes(onnx, value, node.op_type) for value in inferred.graph.output)


def _value_bytes(onnx: Any, value: Any, operator: str) -> int:
    tensor = value.type.tensor_type
    sizes = [dimension.dim_value if dimension.HasField("dim_value") else -1 for dimension in tensor.shape.dim]
    if not tensor.HasField("shape") or min(sizes, default=1) < 0:
        raise UnsupportedError(f"a constant of {operator} whose size cannot be told")
    return math.prod(sizes) * int(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).itemsize)
