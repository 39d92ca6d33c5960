"""The work of a program: multiply-accumulates a node, and which nodes compute with integers."""
from __future__ import annotations

import math

from sparkq.program.types import Node, Program, ValueType

__all__ = ["is_int8", "multiply_accumulates"]

_DEQUANTIZE = ("quantized_decomposed.dequantize_per_tensor", "quantized_decomposed.dequantize_per_channel")


def multiply_accumulates(program: Program) -> dict[str, int]:
    """Count the multiply-accumulates of one image in each node that has any."""
    types = program.types()
    counts = {node.name: _count(node, types) for node in program.nodes}
    return {name: count for name, count in counts.items() if count}


def _count(node: Node, types: dict[str, ValueType]) -> int:
    sizes = [types[name].sizes(1) for name in node.values]
    outputs = math.prod(node.type.sizes(1))
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


def is_int8(node: Node, program: Program) -> bool:
    """Tell whether all tensors that a node computes with are integers, dequantized or as they are; constants do not count."""
    nodes = {other.name: other for other in program.nodes}
    types = program.types()
    read = [name for name in node.values if name in nodes]
    # A layer whose weights are real numbers is none of integers.
    weights = node.inputs[1:2] if node.operator in ("aten.conv2d", "aten.conv_transpose2d", "aten.linear") else ()
    if not read or any(name in program.constants for name in weights):
        return False
    moves = node.type.dtype == "uint8" and all(types[name].dtype == "uint8" for name in read)
    return moves or all(nodes[name].operator in _DEQUANTIZE for name in read)
