"""An ONNX graph, node by node, as a module for any batch size."""
from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import numpy as np
from torch import fx, nn

from sparkq.errors import ModelError
from sparkq.float_models.graph_builder import BATCH, GraphBuilder, UnsupportedError, Value
from sparkq.float_models.onnx.operators import OPERATORS
from sparkq.float_models.onnx.reading import OnnxGraph, OnnxNode, compute_node, read_graph
from sparkq.float_models.onnx.step import Array, OnnxStep
from sparkq.storage import shown

__all__ = ["load_onnx"]

_DEFAULT_SIZE = 224
_IMAGE_CHANNELS = (1, 3)


def load_onnx(path: str) -> nn.Module:
    """Read an ONNX file of an image classifier.

    Parameters
    ----------
    path : str
        Path or uri. An input of [N, H, W, C], as TensorFlow's exporters write it, is taken for what it is.

    Returns
    -------
    nn.Module
        A `torch.fx.GraphModule` of nn modules: float32 [N, C, H, W], N free, to float32 [N, classes].
        ``meta["image_shape"]`` is [C, H, W] where the file fixes it.

    Raises
    ------
    InputError
        If it cannot be read.
    ModelError
        If it is no ONNX model, has other inputs or outputs, or an operator that cannot be taken over.
    """
    graph = read_graph(path)
    return _Importer(graph, f"model onnx:{shown(path)}").module()


class _Importer:
    def __init__(self, graph: OnnxGraph, place: str) -> None:
        self._graph = graph
        self._place = place
        self._consumers = Counter(name for node in graph.nodes for name in node.inputs)
        self._consumers.update(graph.outputs)
        self._names: defaultdict[fx.Node, list[str]] = defaultdict(list)
        self._input_name, self._shape = self._checked_input()
        self._is_nhwc = self._shape[1] not in _IMAGE_CHANNELS and self._shape[3] in _IMAGE_CHANNELS
        order = (0, 3, 1, 2) if self._is_nhwc else (0, 1, 2, 3)
        self._fixed = tuple(self._shape[axis] for axis in order)[1:]
        self._builder = GraphBuilder([self._fixed[0], *(_DEFAULT_SIZE if size < 1 else size for size in self._fixed[1:])])

    def module(self) -> nn.Module:
        environment: dict[str, Value | Array] = dict(self._graph.initializers)
        image = self._builder.input
        environment[self._input_name] = self._builder.permuted(image, (0, 2, 3, 1)) if self._is_nhwc else image
        for node in self._graph.nodes:
            try:
                results = self._run(node, [environment[name] if name else None for name in node.inputs])
            # A damaged or unusual node ends in whatever its attributes lead to.
            except Exception as error:
                raise self._unsupported(node, error) from error
            for name, result in zip(node.outputs, results, strict=False):
                environment[name] = result
                if isinstance(result, Value):
                    self._names[result.node].append(name)
        output = environment.get(self._graph.outputs[0])
        if not isinstance(output, Value):
            raise ModelError(
                f"{self._place}: expected an output that depends on the input; got a constant.", hint="export the model again.",
            )
        module = self._builder.finish(output, self._graph.name)
        if min(self._fixed) > 0:
            module.meta["image_shape"] = self._fixed
        return module

    def _checked_input(self) -> tuple[str, tuple[int, ...]]:
        inputs, outputs = self._graph.inputs, self._graph.outputs
        if len(inputs) != 1 or len(outputs) != 1:
            raise ModelError(
                f"{self._place}: expected one input and one output; got {len(inputs)} ({', '.join(inputs)}) and {len(outputs)} "
                f"({', '.join(outputs)}).",
                hint="cut the graph with onnx.utils.extract_model.",
            )
        ((name, shape),) = inputs.items()
        if len(shape) != 4 or not {shape[1], shape[3]} & set(_IMAGE_CHANNELS):
            raise ModelError(
                f"{self._place}: expected an image input [N, 3, H, W] or [N, H, W, 3]; got {name} "
                f"[{', '.join('?' if size < 1 else str(size) for size in shape)}].",
                hint="export the model with a fixed number of channels.",
            )
        return name, shape

    def _run(self, node: OnnxNode, inputs: list[Value | Array | None]) -> list[Any]:
        if not any(isinstance(given, Value) for given in inputs) and "::" not in node.operator:
            self._refuse_batch_sized(node, inputs)
            return compute_node(node, [None if isinstance(given, Value) else given for given in inputs], self._graph.opset,
                                self._graph.budget)
        if node.operator not in OPERATORS:
            raise UnsupportedError("sparkq does not know it")
        step = OnnxStep(self._builder, node, inputs, self._graph.opset, {self._shape[0]}, self._is_exclusive)
        result = OPERATORS[node.operator](step)
        return result if isinstance(result, list) else [result]

    def _refuse_batch_sized(self, node: OnnxNode, inputs: list[Value | Array | None]) -> None:
        if node.operator in ("ConstantOfShape", "Expand", "Tile", "Range", "If", "Loop", "Scan"):
            if node.operator in ("If", "Loop", "Scan") or any(
                isinstance(given, np.ndarray) and given.dtype.kind == "i" and (given == BATCH).any() for given in inputs
            ):
                raise UnsupportedError("control flow, or a constant of the batch's size")

    def _is_exclusive(self, value: Value) -> bool:
        return all(self._consumers[name] == 1 for name in self._names[value.node])

    def _unsupported(self, node: OnnxNode, error: Exception) -> ModelError:
        reason = str(error) if isinstance(error, UnsupportedError) else f"{type(error).__name__}: {error}"
        return ModelError(
            f"{self._place}: expected operators of an image classifier; got {node.operator} at node {node.name!r} "
            f"({' '.join(reason.split())[:200]}).",
            hint="export the float model for inference, without pre- or post-processing.",
        )
