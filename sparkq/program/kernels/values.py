"""Kernels of what is computed value by value, and over dimensions."""
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from sparkq.program.types import Node

__all__ = ["VALUES", "Kernel", "softmax", "window_view"]

Kernel = Callable[..., Any]

_erf = np.vectorize(math.erf, otypes=[np.float64])


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def _sign(x: Any) -> Any:
    """-1, 0 or 1; 0 of NaN, as in torch."""
    return np.subtract(x > 0, x < 0, dtype=np.float64)


def _where(condition: Any, x: Any, y: Any) -> Any:
    """Values of two; real ones also where both are whole numbers."""
    return np.where(condition, x, y).astype(np.float64, copy=False)


def _hardsigmoid(x: Any) -> Any:
    return np.clip(x + 3, 0, 6) / 6


def _softplus(x: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    return np.where(x * beta > threshold, x, np.log1p(np.exp(np.minimum(x * beta, threshold))) / beta)


_UNARY: dict[str, Kernel] = {
    "abs": np.abs, "ceil": np.ceil, "cos": np.cos, "erf": lambda x: _erf(x) if x.size else x, "exp": np.exp, "expm1": np.expm1,
    "floor": np.floor, "hardsigmoid": _hardsigmoid, "hardswish": lambda x: x * _hardsigmoid(x), "log": np.log, "log1p": np.log1p,
    "mish": lambda x: x * np.tanh(_softplus(x)), "neg": np.negative, "reciprocal": np.reciprocal,
    "relu": lambda x: np.maximum(x, 0), "round": np.rint, "rsqrt": lambda x: 1 / np.sqrt(x), "sigmoid": _sigmoid, "sign": _sign,
    "silu": lambda x: x * _sigmoid(x), "sin": np.sin, "sqrt": np.sqrt, "tanh": np.tanh,
}
_BINARY: dict[str, Kernel] = {
    "add": np.add, "div": np.divide, "maximum": np.maximum, "minimum": np.minimum, "mul": np.multiply, "pow": np.power,
    "sub": np.subtract, "eq": np.equal, "ge": np.greater_equal, "gt": np.greater, "le": np.less_equal, "lt": np.less,
    "ne": np.not_equal, "logical_and": np.logical_and, "logical_or": np.logical_or, "logical_not": np.logical_not,
    "where": _where,
}


def _plain(function: Kernel) -> Callable[[Node], Kernel]:
    return lambda node: function


def _clamp(node: Node) -> Kernel:
    low, high = node.attribute("min"), node.attribute("max")
    return lambda x: np.minimum(x if low is None else np.maximum(x, low), np.inf if high is None else high)


def _elu(node: Node) -> Kernel:
    alpha, scale, input_scale = (node.attribute(name) for name in ("alpha", "scale", "input_scale"))
    return lambda x: scale * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0) * input_scale))


def _gelu(node: Node) -> Kernel:
    """x times the normal distribution's share below it, or its approximation (Hendrycks and Gimpel 2016, section 2)."""
    if node.attribute("approximate") == "tanh":
        return lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return lambda x: 0.5 * x * (1 + _erf(x / math.sqrt(2)))


def _leaky_relu(node: Node) -> Kernel:
    slope = node.attribute("negative_slope")
    return lambda x: np.where(x > 0, x, slope * x)


def _softplus_of(node: Node) -> Kernel:
    beta, threshold = node.attribute("beta"), node.attribute("threshold")
    return lambda x: _softplus(x, beta, threshold)


def _cast(node: Node) -> Kernel:
    return lambda x: x != 0 if node.type.dtype == "bool" else x.astype(np.float64)


def _reduction(function: Kernel) -> Callable[[Node], Kernel]:
    def build(node: Node) -> Kernel:
        dims, keepdim = node.attribute("dim"), node.attribute("keepdim")
        return lambda x: function(x, axis=dims, keepdims=keepdim)
    return build


def _var(node: Node) -> Kernel:
    dims, keepdim, correction = (node.attribute(name) for name in ("dim", "keepdim", "correction"))
    return lambda x: np.var(x, axis=dims, keepdims=keepdim, ddof=correction)


def _vector_norm(node: Node) -> Kernel:
    dims, keepdim, order = (node.attribute(name) for name in ("dim", "keepdim", "ord"))
    if order == math.inf:
        return lambda x: np.abs(x).max(axis=dims, keepdims=keepdim)
    if order == -math.inf:
        return lambda x: np.abs(x).min(axis=dims, keepdims=keepdim)
    if order == 0:
        return lambda x: (x != 0).sum(axis=dims, keepdims=keepdim).astype(np.float64)
    return lambda x: (np.abs(x) ** order).sum(axis=dims, keepdims=keepdim) ** (1 / order)


def window_view(x: Any, sizes: tuple[int, int]) -> Any:
    """Return the windows of [N, C, H, W] as [N, C, H', W', h, w], without copying."""
    view: Any = sliding_window_view
    return view(x, sizes, axis=(2, 3))


def softmax(x: Any, axis: int) -> Any:
    """Exponentials that add up to 1 along an axis."""
    powers = np.exp(x - x.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


def _softmax(node: Node) -> Kernel:
    dim = node.attribute("dim")
    return lambda x: softmax(x, dim)


def _log_softmax(node: Node) -> Kernel:
    dim = node.attribute("dim")

    def kernel(x: Any) -> Any:
        shifted = x - x.max(axis=dim, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(axis=dim, keepdims=True))
    return kernel


VALUES: dict[str, Callable[[Node], Kernel]] = {
    **{name: _plain(function) for name, function in {**_UNARY, **_BINARY}.items()},
    "clamp": _clamp, "elu": _elu, "gelu": _gelu, "leaky_relu": _leaky_relu, "softplus": _softplus_of, "_to_copy": _cast,
    "amax": _reduction(np.max), "amin": _reduction(np.min), "mean": _reduction(np.mean), "sum": _reduction(np.sum), "var": _var,
    "linalg_vector_norm": _vector_norm, "softmax": _softmax, "log_softmax": _log_softmax,
}
"""By the name of an ATen operator, from a node to the function of its arrays."""
