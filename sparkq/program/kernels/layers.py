"""Kernels of layers: convolutions, products of matrices, attention and norms."""
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from sparkq.program.kernels.values import Kernel, softmax, window_view
from sparkq.program.types import Node

__all__ = ["LAYERS"]


def _conv2d(node: Node) -> Kernel:
    stride, padding, dilation, groups = (node.attribute(name) for name in ("stride", "padding", "dilation", "groups"))
    return lambda x, weight, bias: _with_bias(_convolved(x, weight, stride, padding, dilation, groups), bias)


def _with_bias(x: Any, bias: Any) -> Any:
    return x if bias is None else x + bias[:, None, None]


def _convolved(x: Any, weight: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    """Windows of each group as rows of a matrix, times the group's weights."""
    x = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    reach = dilation[0] * (weight.shape[2] - 1) + 1, dilation[1] * (weight.shape[3] - 1) + 1
    windows = window_view(x, reach)[
        :, :, ::stride[0], ::stride[1], ::dilation[0], ::dilation[1]
    ]
    count, _, height, width = windows.shape[:4]
    outputs = weight.shape[0] // groups
    result = np.empty((count, weight.shape[0], height, width))
    for group in range(groups):
        channels = slice(group * weight.shape[1], (group + 1) * weight.shape[1])
        rows = windows[:, channels].transpose(0, 2, 3, 1, 4, 5).reshape(count * height * width, -1)
        kernels = weight[group * outputs:(group + 1) * outputs].reshape(outputs, -1)
        planes = (rows @ kernels.T).reshape(count, height, width, outputs)
        result[:, group * outputs:(group + 1) * outputs] = planes.transpose(0, 3, 1, 2)
    return result


def _conv_transpose2d(node: Node) -> Kernel:
    """A convolution of the planes with zeros between their values, by kernels turned around."""
    stride, padding, more, dilation, groups = (
        node.attribute(name) for name in ("stride", "padding", "output_padding", "dilation", "groups")
    )

    def kernel(x: Any, weight: Any, bias: Any) -> Any:
        spread = np.zeros((*x.shape[:2], *((x.shape[2 + axis] - 1) * stride[axis] + 1 for axis in (0, 1))))
        spread[:, :, ::stride[0], ::stride[1]] = x
        reach = [dilation[axis] * (weight.shape[2 + axis] - 1) for axis in (0, 1)]
        spread = np.pad(spread, ((0, 0), (0, 0), *((reach[axis], reach[axis] + more[axis]) for axis in (0, 1))))
        turned = weight.reshape(groups, -1, *weight.shape[1:]).swapaxes(1, 2)[..., ::-1, ::-1]
        full = _convolved(spread, turned.reshape(-1, *turned.shape[2:]), (1, 1), (0, 0), dilation, groups)
        height, width = (full.shape[2 + axis] - padding[axis] for axis in (0, 1))
        return _with_bias(full[:, :, padding[0]:height, padding[1]:width], bias)
    return kernel


def _linear(node: Node) -> Kernel:
    return lambda x, weight, bias: x @ weight.T + (0 if bias is None else bias)


def _matmul(node: Node) -> Kernel:
    return lambda x, y: x @ y


def _attention(node: Node) -> Kernel:
    """``softmax(q k^T * scale + mask) v`` (Vaswani et al. 2017, section 3.2.1)."""
    is_causal, scale = node.attribute("is_causal"), node.attribute("scale")

    def kernel(query: Any, key: Any, value: Any, mask: Any) -> Any:
        factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
        scores = query @ key.swapaxes(-1, -2) * factor
        if is_causal:
            scores = np.where(np.tri(*scores.shape[-2:]) > 0, scores, -np.inf)
        if mask is not None:
            scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
        # torch gives zeros, not NaN, to a query that the mask leaves no key.
        shares = np.where(np.isneginf(scores).all(-1, keepdims=True), 0, softmax(scores, -1))
        return shares @ value
    return kernel


def _batch_norm(node: Node) -> Kernel:
    eps = node.attribute("eps")

    def kernel(x: Any, weight: Any, bias: Any, mean: Any, var: Any) -> Any:
        shape = (-1, *[1] * (x.ndim - 2))
        normed = (x - mean.reshape(shape)) / np.sqrt(var.reshape(shape) + eps)
        return normed * (1 if weight is None else weight.reshape(shape)) + (0 if bias is None else bias.reshape(shape))
    return kernel


def _group_norm(node: Node) -> Kernel:
    groups, eps = node.attribute("num_groups"), node.attribute("eps")

    def kernel(x: Any, weight: Any, bias: Any) -> Any:
        rows = x.reshape(len(x), groups, -1)
        normed = ((rows - rows.mean(2, keepdims=True)) / np.sqrt(rows.var(2, keepdims=True) + eps)).reshape(x.shape)
        shape = (-1, *[1] * (x.ndim - 2))
        return normed * (1 if weight is None else weight.reshape(shape)) + (0 if bias is None else bias.reshape(shape))
    return kernel


def _layer_norm(node: Node) -> Kernel:
    axes, eps = _last(node), node.attribute("eps")

    def kernel(x: Any, weight: Any, bias: Any) -> Any:
        normed = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)
        return normed * (1 if weight is None else weight) + (0 if bias is None else bias)
    return kernel


def _rms_norm(node: Node) -> Kernel:
    axes, eps = _last(node), node.attribute("eps")
    return lambda x, weight: x / np.sqrt((x * x).mean(axes, keepdims=True) + eps) * (1 if weight is None else weight)


def _last(node: Node) -> tuple[int, ...]:
    return tuple(range(-len(node.attribute("normalized_shape")), 0))


LAYERS: dict[str, Callable[[Node], Kernel]] = {
    "conv2d": _conv2d, "conv_transpose2d": _conv_transpose2d, "linear": _linear, "matmul": _matmul,
    "scaled_dot_product_attention": _attention, "batch_norm": _batch_norm, "group_norm": _group_norm, "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
}
"""By the name of an ATen operator, from a node to the function of its arrays."""
