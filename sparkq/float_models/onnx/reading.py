"""From an ONNX file to its graph, checked; the one module that imports `onnx`."""
from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sparkq.errors import ModelError
from sparkq.float_models.onnx.sizes import announced_bytes, external_bytes, inlined_bytes
from sparkq.float_models.size_budget import SizeBudget
from sparkq.storage import is_uri, read_file, shown

__all__ = ["OnnxGraph", "OnnxNode", "compute_node", "read_graph", "read_initializers"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class OnnxNode:
    """One operator.

    Parameters
    ----------
    operator : str
        ``Conv``, or ``domain::Operator`` outside of ONNX's own domain.
    name : str
        Its name, or its first output's where it has none.
    inputs, outputs : tuple of str
        Names; an empty one is an input that is left out.
    attributes : mapping
        Numbers, text, lists, and tensors as arrays.
    proto : object
        The node itself, for onnx's own evaluator.
    """

    operator: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    proto: Any


@dataclass(frozen=True)
class OnnxGraph:
    """The content of an ONNX file.

    Parameters
    ----------
    name : str
        Of the file.
    opset : int
        Version of ONNX's own operators.
    inputs : mapping of str to tuple of int
        Shape of each input; -1 for a free dimension. Initializers are none.
    outputs : tuple of str
        Names.
    initializers : mapping of str to ndarray
        Weights.
    nodes : tuple of OnnxNode
        In order.
    budget : SizeBudget
        What constants that are computed from the weights may take.
    """

    name: str
    opset: int
    inputs: Mapping[str, tuple[int, ...]]
    outputs: tuple[str, ...]
    initializers: Mapping[str, Array]
    nodes: tuple[OnnxNode, ...]
    budget: SizeBudget


def read_graph(path: str) -> OnnxGraph:
    """Read an ONNX file.

    Parameters
    ----------
    path : str
        Path or uri; weights in files beside it are read where it is a path.

    Raises
    ------
    InputError
        If it cannot be read.
    ModelError
        If it is no ONNX model, or the package ``onnx`` is missing.
    """
    onnx = _import_onnx()
    place = f"model onnx:{shown(path)}"
    data = read_file(path, what="model")
    budget = SizeBudget(len(data))
    try:
        model = onnx.load_model_from_string(data)
        if not is_uri(path):
            folder = os.path.dirname(os.path.abspath(path))
            stored, announced = external_bytes(model, folder)
            budget = SizeBudget(len(data) + stored)
            budget.take(announced)
            importlib.import_module("onnx.external_data_helper").load_external_data_for_model(model, folder)
        if model.functions:
            budget.take(inlined_bytes(model))
            model = importlib.import_module("onnx.inliner").inline_local_functions(model)
        graph = model.graph
        initializers = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
        nodes = tuple(_node(onnx, node) for node in graph.node)
    # protobuf raises kinds of its own, and damaged weights whatever numpy makes of them.
    except Exception as error:
        raise ModelError(
            f"{place}: expected an ONNX model; got {type(error).__name__}: {' '.join(str(error).split())[:200]}.",
            hint="the file is damaged or incomplete; weights that were saved apart must lie beside it.",
        ) from error
    # An empty file is a valid protobuf message.
    if not nodes or not graph.output:
        raise ModelError(f"{place}: expected an ONNX model; got a file without a graph.", hint="export the model again.")
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1)
    return OnnxGraph(
        os.path.splitext(os.path.basename(path))[0], opset,
        {value.name: _shape(value) for value in graph.input if value.name not in initializers},
        tuple(value.name for value in graph.output), initializers, nodes, budget,
    )


def read_initializers(path: str) -> dict[str, torch.Tensor]:
    """The weights of an ONNX file by their names.

    Raises
    ------
    InputError, ModelError
        As `read_graph`.
    """
    return {name: torch.from_numpy(np.array(array)) for name, array in read_graph(path).initializers.items()}


def compute_node(node: OnnxNode, inputs: Sequence[Array | None], opset: int, budget: SizeBudget) -> list[Array]:
    """Compute an operator of constants by onnx's reference implementation."""
    onnx = _import_onnx()
    given = {name: array for name, array in zip(node.inputs, inputs, strict=True) if name and array is not None}
    infos = [onnx.helper.make_tensor_value_info(name, _onnx_type(onnx, array), array.shape) for name, array in given.items()]
    outputs = [name for name in node.outputs if name]
    results = [onnx.helper.make_empty_tensor_value_info(name) for name in outputs]
    graph = onnx.helper.make_graph([node.proto], "constant", infos, results)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    budget.take(announced_bytes(onnx, model, given))
    evaluator = importlib.import_module("onnx.reference").ReferenceEvaluator(model)
    return [np.asarray(output) for output in evaluator.run(None, given)]


def _import_onnx() -> Any:
    try:
        return importlib.import_module("onnx")
    except ImportError as error:
        raise ModelError(
            f"model source onnx: expected the package onnx; got {type(error).__name__}: {error}.",
            hint="pip install 'sparkq[onnx]'.",
        ) from error


def _node(onnx: Any, node: Any) -> OnnxNode:
    attributes = {attribute.name: _attribute(onnx, attribute) for attribute in node.attribute}
    operator = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}::{node.op_type}"
    name = node.name or (node.output[0] if node.output else node.op_type)
    return OnnxNode(operator, name, tuple(node.input), tuple(node.output), attributes, node)


def _attribute(onnx: Any, attribute: Any) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    return list(value) if attribute.type in (onnx.AttributeProto.INTS, onnx.AttributeProto.FLOATS) else value


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(size.dim_value if size.HasField("dim_value") and size.dim_value > 0 else -1
                 for size in value.type.tensor_type.shape.dim)


def _onnx_type(onnx: Any, array: Array) -> int:
    return int(onnx.helper.np_dtype_to_tensor_dtype(array.dtype))
