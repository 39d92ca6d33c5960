"""Kernels of what puts values elsewhere, and of what changes between integers and real numbers."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sparkq.program.kernels.values import Kernel
from sparkq.program.types import Node

__all__ = ["MOVES", "QUANTIZED"]


def _view(node: Node) -> Kernel:
    return lambda x: x.reshape(node.type.shape)


def _expand(node: Node) -> Kernel:
    return lambda x: np.broadcast_to(x, node.type.shape)


def _full(node: Node) -> Kernel:
    return lambda: np.full(node.type.shape, node.attribute("value"), np.float64)


def _cat(node: Node) -> Kernel:
    return lambda *tensors: np.concatenate(tensors, node.attribute("dim"))


def _flip(node: Node) -> Kernel:
    return lambda x: np.flip(x, node.attribute("dims"))


def _index_select(node: Node) -> Kernel:
    return lambda x, index: x.take(index, node.attribute("dim"))


def _permute(node: Node) -> Kernel:
    return lambda x: x.transpose(node.attribute("dims"))


def _select(node: Node) -> Kernel:
    return lambda x: x.take(node.attribute("index"), node.attribute("dim"))


def _slice(node: Node) -> Kernel:
    place = slice(node.attribute("start"), node.attribute("end"), node.attribute("step"))
    before = (slice(None),) * node.attribute("dim")
    return lambda x: x[before + (place,)]


def _quantize(node: Node) -> Kernel:
    scale, zero_point, low, high = (node.attribute(name) for name in ("scale", "zero_point", "quant_min", "quant_max"))
    return lambda x: np.clip(np.rint(x / scale) + zero_point, low, high).astype(np.uint8)


def _dequantize(node: Node) -> Kernel:
    scale, zero_point = node.attribute("scale"), node.attribute("zero_point")
    return lambda x: (x.astype(np.float64) - zero_point) * scale


def _dequantize_per_channel(node: Node) -> Kernel:
    def kernel(x: Any, scales: Any, zero_points: Any) -> Any:
        shape = [-1 if axis == node.attribute("axis") else 1 for axis in range(x.ndim)]
        return (x.astype(np.float64) - zero_points.reshape(shape)) * scales.astype(np.float64).reshape(shape)
    return kernel


MOVES: dict[str, Callable[[Node], Kernel]] = {
    "view": _view, "expand": _expand, "full": _full, "cat": _cat, "flip": _flip, "index_select": _index_select,
    "permute": _permute, "select": _select, "slice": _slice,
}
"""By the name of an ATen operator, from a node to the function of its arrays."""

QUANTIZED: dict[str, Callable[[Node], Kernel]] = {
    "quantize_per_tensor": _quantize, "dequantize_per_tensor": _dequantize, "dequantize_per_channel": _dequantize_per_channel,
}
"""Likewise of the operators of ``quantized_decomposed``."""
