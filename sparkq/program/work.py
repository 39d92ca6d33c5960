"""The work of a program: multiply-accumulates a node, and which nodes compute with integers."""
from __future__ import annotations

import math

from sparkq.program.types import INPUT, Node, Program, ValueType

__all__ = ["integer_nodes", "multiply_accumulates"]

_DEQUANTIZE = ("quantized_decomposed.dequantize_per_tensor", "quantized_decomposed.dequantize_per_channel")
_QUANTIZE = "quantized_decomposed.quantize_per_tensor"
_PRODUCTS = {"aten.conv2d": 2, "aten.conv_transpose2d": 2, "aten.linear": 2, "aten.matmul": 2}
# What else they read are numbers of a norm, or places.
_TENSORS = {
    **_PRODUCTS, **dict.fromkeys(("aten.batch_norm", "aten.group_norm", "aten.layer_norm", "aten.rms_norm"), 1),
    "aten.index_select": 1,
}
_MOVES = frozenset(f"aten.{name}" for name in ("expand", "flip", "index_select", "pad", "permute", "select", "slice", "view"))
# Its inside, a softmax, is in real numbers whatever stands around it.
_FLOAT = "aten.scaled_dot_product_attention"


def multiply_accumulates(program: Program, *, images: int = 1) -> dict[str, int]:
    """Count the multiply-accumulates of one image, or of a batch of `images`, in each node that has any."""
    types = program.types()
    counts = {node.name: _count(node, types, images) for node in program.nodes}
    return {name: count for name, count in counts.items() if count}


def _count(node: Node, types: dict[str, ValueType], images: int) -> int:
    sizes = [types[name].sizes(images) for name in node.values]
    outputs = math.prod(node.type.sizes(images))
    if node.operator == "aten.conv2d":
        return outputs * math.prod(sizes[1][1:])
    if node.operator == "aten.conv_transpose2d":
        return math.prod(sizes[0]) * math.prod(sizes[1][1:])
    if node.operator in ("aten.linear", "aten.matmul"):
        return outputs * sizes[0][-1]
    if node.operator == "aten.scaled_dot_product_attention":
        keys = sizes[1][-2]
        return math.prod(sizes[0]) * keys + outputs * keys
    return 0


def integer_nodes(program: Program) -> frozenset[str]:
    """Return the names of the nodes that can be computed with integers alone.

    Those are layers and products of matrices that read dequantized integers; others that read them and whose values are only
    rounded to integers again, at once or behind a ReLU or moves; and moves of integers of the network's own. An engine need not
    have a kernel for each.
    """
    types, readers = program.types(), program.readers()
    # Values that are integers, but for a scale and a zero point: dequantized, or such moved.
    born: set[str] = set()
    for node in program.nodes:
        if node.operator in _DEQUANTIZE or node.operator in _MOVES and born.issuperset(_tensors(node)) and _tensors(node):
            born.add(node.name)
    bound: set[str] = set()
    for node in reversed(program.nodes):
        after = readers[node.name]
        if after and all(
            reader.operator == _QUANTIZE or reader.name in bound and reader.operator in (*_MOVES, "aten.relu") for reader in after
        ):
            bound.add(node.name)
    return frozenset(
        node.name for node in program.nodes
        if not node.operator.startswith("quantized_decomposed.") and _is_integer(node, types, born, bound)
    )


def _tensors(node: Node) -> tuple[str, ...]:
    """Names of the tensors that a node computes with, without biases and the like."""
    given = node.inputs[:_TENSORS.get(node.operator, len(node.inputs))]
    return tuple(name for name in given if isinstance(name, str))


def _is_integer(node: Node, types: dict[str, ValueType], born: set[str], bound: set[str]) -> bool:
    tensors = _tensors(node)
    if not tensors or node.operator == _FLOAT:
        return False
    if node.type.dtype in ("int8", "uint8"):
        return INPUT not in tensors and all(types[name].dtype == node.type.dtype for name in tensors)
    return born.issuperset(tensors) and (node.operator in _PRODUCTS or node.name in bound)
