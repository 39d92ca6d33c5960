"""Float regions: parts of a graph that 8 bits would ruin although no layer of theirs stays in float.

- Norms. SSD scales a feature map of 512 channels to length 1 at every place (Liu et al. 2016, "SSD: Single Shot MultiBox
  Detector", section 3.1, after ParseNet): values of about 1/23 with a range of 1 are left with a tenth of their 8 bits.
  Multiplied by the learned scales first, and then rounded, they keep all.
- Answers of several heads. INT8 gives concatenated tensors one range. Class logits from -10 to 10 and box offsets of a tenth do
  not share one: each layer keeps its own, and its values are concatenated as they were.
"""
from __future__ import annotations

import operator

import torch
from torch import fx
from torch.nn import functional as F

from sparkq.quantization.graph_edits import finish
from sparkq.quantization.int8_graph.islands import LAYERS, float_call

__all__ = ["keep_answers_in_float", "keep_norms_in_float"]

_NORMS = (
    F.normalize, torch.norm, torch.linalg.vector_norm, torch.pow, operator.pow, torch.square, torch.sum, torch.sqrt, torch.rsqrt,
    torch.div, torch.true_divide, operator.truediv, operator.itruediv,
    "norm", "pow", "square", "sum", "sqrt", "rsqrt", "div", "div_", "clamp_min", "expand_as",
)
_ARITHMETIC = (
    operator.mul, operator.imul, torch.mul, operator.add, operator.iadd, torch.add, "mul", "mul_", "add", "add_",
)
_RESHAPES = (torch.reshape, torch.unsqueeze, "view", "reshape", "unsqueeze", "expand_as", "expand")
_CONCATENATIONS = (torch.cat, torch.concat, torch.stack)


def keep_norms_in_float(graph: fx.GraphModule) -> None:
    """Keep what is multiplied with, or added to, a norm or a vector of length 1 in float, where nothing else takes part.

    Parameters
    ----------
    graph : GraphModule
        Float; changed in place, and computes the same.
    """
    normed: set[fx.Node] = set()
    constant: dict[fx.Node, None] = {}
    kept = False
    for node in list(graph.graph.nodes):
        sources = node.all_input_nodes
        if node.op == "get_attr" or (node.target in _RESHAPES and sources and constant.keys() >= set(sources)):
            constant[node] = None
        elif node.target in _NORMS:
            normed.add(node)
        elif node.target in _ARITHMETIC and normed & set(sources) and normed | constant.keys() >= set(sources):
            normed.add(float_call(graph, node, "float_norm"))
            kept = True
    if kept:
        # Else the learned scales would be rounded before they are reshaped.
        for node in (node for node in constant if node.op != "get_attr"):
            float_call(graph, node, "float_scale")
    finish(graph)


def keep_answers_in_float(graph: fx.GraphModule) -> list[str]:
    """Keep all that comes behind the last layers in float, where it concatenates answers of several of them.

    Parameters
    ----------
    graph : GraphModule
        Float; changed in place, and computes the same.

    Returns
    -------
    list of str
        Modules that stay in float.
    """
    before: set[fx.Node] = set()
    for node in reversed(graph.graph.nodes):
        if _is_layer(graph, node) or any(user in before for user in node.users):
            before.add(node)
    behind = [
        node for node in graph.graph.nodes
        if node not in before and node.op in ("call_function", "call_method", "call_module")
    ]
    if not any(node.target in _CONCATENATIONS for node in behind):
        return []
    names = [str(node.target) for node in behind if node.op == "call_module"]
    for node in (node for node in behind if node.op != "call_module"):
        float_call(graph, node, "float_answer")
    finish(graph)
    return names


def _is_layer(graph: fx.GraphModule, node: fx.Node) -> bool:
    return node.op == "call_module" and isinstance(graph.get_submodule(str(node.target)), LAYERS)
