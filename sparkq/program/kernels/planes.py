"""Kernels of what works on planes: pooling, resizing and padding."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sparkq.program.kernels.values import Kernel, window_view
from sparkq.program.types import Node

__all__ = ["PLANES"]


def _windows(x: Any, node: Node, fill: float) -> Any:
    """Windows of a pool, [N, C, H', W', h, w]; `fill` stands outside of the planes, also where the last window hangs over."""
    kernel, stride, padding = (node.attribute(name) for name in ("kernel_size", "stride", "padding"))
    dilation = node.attribute("dilation") if "dilation" in node.attributes else (1, 1)
    sizes = node.type.shape[2:]
    pads = []
    for axis in (0, 1):
        reach = dilation[axis] * (kernel[axis] - 1) + 1
        needed = (sizes[axis] - 1) * stride[axis] + reach
        pads.append((padding[axis], max(0, needed - x.shape[2 + axis] - padding[axis])))
    x = np.pad(x, ((0, 0), (0, 0), *pads), constant_values=fill)
    reaches = dilation[0] * (kernel[0] - 1) + 1, dilation[1] * (kernel[1] - 1) + 1
    found = window_view(x, reaches)[:, :, ::stride[0], ::stride[1]]
    return found[:, :, :sizes[0], :sizes[1], ::dilation[0], ::dilation[1]]


def _max_pool2d(node: Node) -> Kernel:
    return lambda x: _windows(x, node, -np.inf).max(axis=(4, 5))


def _avg_pool2d(node: Node) -> Kernel:
    kernel_size, stride, padding = (node.attribute(name) for name in ("kernel_size", "stride", "padding"))
    counts_padding = node.attribute("count_include_pad")

    def kernel(x: Any) -> Any:
        sums = _windows(x, node, 0.0).sum(axis=(4, 5))
        counts = []
        for axis in (0, 1):
            size, starts = x.shape[2 + axis], np.arange(sums.shape[2 + axis]) * stride[axis] - padding[axis]
            # Padding counts, what a last window has beyond it does not.
            ends = np.minimum(starts + kernel_size[axis], size + padding[axis])
            counts.append(ends - starts if counts_padding else np.minimum(ends, size) - np.maximum(starts, 0))
        return sums / (counts[0][:, None] * counts[1][None, :])
    return kernel


def _adaptive_avg_pool2d(node: Node) -> Kernel:
    """Means of windows from ``floor(i * in / out)`` to ``ceil((i + 1) * in / out)``."""
    height, width = node.attribute("output_size")

    def kernel(x: Any) -> Any:
        result = np.empty((*x.shape[:2], height, width))
        for row in range(height):
            rows = slice(row * x.shape[2] // height, -(-(row + 1) * x.shape[2] // height))
            for column in range(width):
                columns = slice(column * x.shape[3] // width, -(-(column + 1) * x.shape[3] // width))
                result[:, :, row, column] = x[:, :, rows, columns].mean(axis=(2, 3))
        return result
    return kernel


def _upsample_nearest2d(node: Node) -> Kernel:
    height, width = node.attribute("output_size")

    def kernel(x: Any) -> Any:
        return x[:, :, _nearest(x.shape[2], height)][:, :, :, _nearest(x.shape[3], width)]
    return kernel


def _nearest(old: int, size: int) -> Any:
    """Rows that torch takes: its factor is a float32, whose products lie below a whole number at times."""
    return np.minimum((np.arange(size, dtype=np.float32) * (np.float32(old) / np.float32(size))).astype(np.int64), old - 1)


def _upsample_bilinear2d(node: Node) -> Kernel:
    corners = node.attribute("align_corners")

    def kernel(x: Any) -> Any:
        for axis, size in zip((2, 3), node.attribute("output_size"), strict=True):
            x = _stretched(x, axis, size, corners)
        return x
    return kernel


def _stretched(x: Any, axis: int, size: int, corners: bool) -> Any:
    """Values between two neighbours of an axis, by how far they lie from each."""
    old = x.shape[axis]
    if corners:
        places = np.arange(size) * ((old - 1) / (size - 1) if size > 1 else 0.0)
    else:
        places = np.maximum((np.arange(size) + 0.5) * (old / size) - 0.5, 0)
    first = np.minimum(places.astype(np.int64), old - 1)
    share = (places - first).reshape(-1, *[1] * (x.ndim - 1 - axis))
    return x.take(first, axis) * (1 - share) + x.take(np.minimum(first + 1, old - 1), axis) * share


def _pad(node: Node) -> Kernel:
    numbers, mode, value = (node.attribute(name) for name in ("pad", "mode", "value"))
    pairs = [tuple(numbers[place:place + 2]) for place in range(0, len(numbers), 2)][::-1]

    def kernel(x: Any) -> Any:
        widths = [(0, 0)] * (x.ndim - len(pairs)) + pairs
        x = x[tuple(slice(max(-before, 0), size - max(-after, 0)) for (before, after), size in zip(widths, x.shape, strict=True))]
        added = [(max(before, 0), max(after, 0)) for before, after in widths]
        if mode == "constant":
            return np.pad(x, added, constant_values=value)
        return np.pad(x, added, mode="reflect") if mode == "reflect" else np.pad(x, added, mode="edge")
    return kernel


PLANES: dict[str, Callable[[Node], Kernel]] = {
    "adaptive_avg_pool2d": _adaptive_avg_pool2d, "avg_pool2d": _avg_pool2d, "max_pool2d": _max_pool2d,
    "upsample_bilinear2d": _upsample_bilinear2d, "upsample_nearest2d": _upsample_nearest2d, "pad": _pad,
}
"""By the name of an ATen operator, from a node to the function of its arrays."""
