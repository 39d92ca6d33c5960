"""Writers of layers: convolutions, products of matrices, attention and norms."""
from __future__ import annotations

import math
from typing import Any

import numpy as np

from sparkq.export.onnx.graph import Graph, Writer
from sparkq.program.types import Node

__all__ = ["LAYERS"]


def _inputs(graph: Graph, node: Node) -> list[str]:
    found = [graph.value(given) for given in node.inputs]
    return found[:-1] if found[-1] == "" else found


def _geometry(node: Node) -> dict[str, Any]:
    return {
        "strides": node.attribute("stride"), "pads": [*node.attribute("padding")] * 2, "dilations": node.attribute("dilation"),
        "group": node.attribute("groups"),
    }


def _conv2d(graph: Graph, node: Node) -> None:
    graph.add("Conv", _inputs(graph, node), node.name, **_geometry(node))


def _conv_transpose2d(graph: Graph, node: Node) -> None:
    more = node.attribute("output_padding")
    graph.add("ConvTranspose", _inputs(graph, node), node.name, **_geometry(node), output_padding=more)


def _linear(graph: Graph, node: Node) -> None:
    x, weight, bias = (graph.value(given) for given in node.inputs)
    if len(node.type.shape) == 2:
        graph.add("Gemm", [x, weight, *([bias] if bias else [])], node.name, transB=1)
        return
    turned = graph.add("Transpose", [weight], perm=[1, 0])
    product = graph.add("MatMul", [x, turned], None if bias else node.name)
    if bias:
        graph.add("Add", [product, bias], node.name)


def _attention(graph: Graph, node: Node) -> None:
    query, key, value, mask = (graph.value(given) for given in node.inputs)
    scale = node.attribute("scale")
    factor = graph.value(1 / math.sqrt(*graph.fixed(node, 0, -1)) if scale is None else scale)
    rank = len(node.type.shape)
    order = [*range(rank - 2), rank - 1, rank - 2]
    scores = graph.add("MatMul", [graph.add("Mul", [query, factor]), graph.add("Transpose", [key], perm=order)])
    lowest = graph.value(float(np.finfo(np.float32).min))
    if node.attribute("is_causal"):
        queries, keys = (graph.fixed(node, index, -2)[0] for index in (0, 1))
        scores = graph.add("Where", [graph.constant(np.tri(queries, keys) > 0), scores, lowest])
    is_bool = bool(mask) and graph.types[str(node.inputs[3])].dtype == "bool"
    if mask:
        scores = graph.add("Where", [mask, scores, lowest]) if is_bool else graph.add("Add", [scores, mask])
    shares = graph.add("Softmax", [scores], axis=-1)
    if is_bool:
        # A query that may look at nothing gives zeros in torch.
        shares = graph.add("Where", [mask, shares, graph.value(0.0)])
    graph.add("MatMul", [shares, value], node.name)


def _affine(graph: Graph, node: Node, shape: tuple[int, ...]) -> list[str]:
    """Weight and bias of a norm, ones and zeros where it has none."""
    weight, bias = (graph.value(given) for given in node.inputs[1:3])
    return [weight or graph.constant(np.ones(shape, np.float32)), bias or graph.constant(np.zeros(shape, np.float32))]


def _batch_norm(graph: Graph, node: Node) -> None:
    moments = [graph.value(given) for given in node.inputs[3:]]
    inputs = [graph.value(node.inputs[0]), *_affine(graph, node, graph.fixed(node, 0, 1)), *moments]
    graph.add("BatchNormalization", inputs, node.name, epsilon=node.attribute("eps"))


def _group_norm(graph: Graph, node: Node) -> None:
    inputs = [graph.value(node.inputs[0]), *_affine(graph, node, graph.fixed(node, 0, 1))]
    graph.add("GroupNormalization", inputs, node.name, epsilon=node.attribute("eps"), num_groups=node.attribute("num_groups"))


def _layer_norm(graph: Graph, node: Node) -> None:
    shape = node.attribute("normalized_shape")
    inputs = [graph.value(node.inputs[0]), *_affine(graph, node, shape)]
    graph.add("LayerNormalization", inputs, node.name, axis=-len(shape), epsilon=node.attribute("eps"))


def _rms_norm(graph: Graph, node: Node) -> None:
    x, weight = (graph.value(given) for given in node.inputs)
    dims = graph.integers(*range(-len(node.attribute("normalized_shape")), 0))
    square = graph.add("ReduceMean", [graph.add("Mul", [x, x]), dims], keepdims=1)
    root = graph.add("Sqrt", [graph.add("Add", [square, graph.value(node.attribute("eps"))])])
    normed = graph.add("Div", [x, root], None if weight else node.name)
    if weight:
        graph.add("Mul", [normed, weight], node.name)


LAYERS: dict[str, Writer] = {
    f"aten.{name}": write for name, write in {
        "conv2d": _conv2d, "conv_transpose2d": _conv_transpose2d, "linear": _linear, "scaled_dot_product_attention": _attention,
        "batch_norm": _batch_norm, "group_norm": _group_norm, "layer_norm": _layer_norm, "rms_norm": _rms_norm,
    }.items()
}
"""By operator."""
