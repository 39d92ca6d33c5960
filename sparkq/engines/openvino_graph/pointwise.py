"""Converters of what is computed value by value."""
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from sparkq.engines.openvino_graph.call import Call, Converter, number
from sparkq.engines.openvino_graph.library import openvino, ops

__all__ = ["POINTWISE"]

# Behind it a softplus is its argument to the last bit of float32.
_SOFTPLUS_IS_LINEAR = 20.0


def _unary(function: Callable[[Any], Any]) -> Converter:
    return lambda call: function(call.tensor())


def _binary(function: Callable[[Any, Any], Any]) -> Converter:
    return lambda call: function(call.tensor(0), call.tensor(1))


def _relu(call: Call) -> Any:
    grid = call.value().grid
    return call.tensor() if grid is not None and grid.is_positive() else ops.relu(call.tensor())


def _clamp(call: Call) -> Any:
    low, high = (None if bound is None or math.isinf(bound) else float(bound) for bound in (call["min"], call["max"]))
    if low is not None and high is not None and low <= high:
        return ops.clamp(call.tensor(), low, high)
    # Where the bounds cross, torch takes the upper one; an infinite one may still be a bound, from the wrong side.
    result = call.tensor()
    for bound, function, nothing in ((call["min"], ops.maximum, -math.inf), (call["max"], ops.minimum, math.inf)):
        if bound is not None and bound != nothing:
            result = function(result, number(bound))
    return result


def _elu(call: Call) -> Any:
    """``x`` above zero and ``alpha * (exp(x * input_scale) - 1)`` below, both times ``scale``."""
    x, alpha, scale, inner = call.tensor(), call["alpha"], call["scale"], call["input_scale"]
    if inner == 1 and alpha > 0:
        result = ops.elu(x, float(alpha))
        return result if scale == 1 else ops.multiply(result, number(scale))
    below = ops.subtract(ops.exp(ops.multiply(ops.minimum(x, number(0)), number(inner))), number(1))
    return ops.add(ops.multiply(ops.relu(x), number(scale)), ops.multiply(below, number(alpha * scale)))


def _gelu(call: Call) -> Any:
    return ops.gelu(call.tensor(), {"none": "ERF", "tanh": "TANH"}[call["approximate"]])


def _leaky_relu(call: Call) -> Any:
    return ops.prelu(call.tensor(), number(call["negative_slope"]))


def _softplus(call: Call) -> Any:
    x, beta = call.tensor(), call["beta"]
    scaled = x if beta == 1 else ops.multiply(x, number(beta))
    smooth = ops.softplus(scaled)
    result = smooth if beta == 1 else ops.multiply(smooth, number(1 / beta))
    if call["threshold"] >= _SOFTPLUS_IS_LINEAR:
        return result
    return ops.select(ops.greater(scaled, number(call["threshold"])), x, result)


def _where(call: Call) -> Any:
    return ops.select(call.tensor(0), call.tensor(1), call.tensor(2))


def _cast(call: Call) -> Any:
    found = ops.convert(call.tensor(), openvino.Type.f32)
    # A conversion to bool would cut off what is behind the point.
    return found if call.node.type.dtype == "float32" else ops.not_equal(found, number(0))


POINTWISE: dict[str, Converter] = {
    **{
        name: _unary(function) for name, function in {
            "abs": ops.abs, "ceil": ops.ceiling, "cos": ops.cos, "erf": ops.erf, "exp": ops.exp, "floor": ops.floor,
            "expm1": lambda x: ops.subtract(ops.exp(x), number(1)), "hardsigmoid": ops.hsigmoid, "hardswish": ops.hswish,
            "log": ops.log, "log1p": lambda x: ops.log(ops.add(x, number(1))), "logical_not": ops.logical_not, "mish": ops.mish,
            "neg": ops.negative, "reciprocal": lambda x: ops.divide(number(1), x),
            "round": lambda x: ops.round(x, "half_to_even"), "rsqrt": lambda x: ops.divide(number(1), ops.sqrt(x)),
            "sigmoid": ops.sigmoid, "sign": ops.sign, "silu": ops.swish, "sin": ops.sin, "sqrt": ops.sqrt, "tanh": ops.tanh,
        }.items()
    },
    **{
        name: _binary(function) for name, function in {
            "add": ops.add, "div": ops.divide, "maximum": ops.maximum, "minimum": ops.minimum, "mul": ops.multiply,
            "pow": ops.power, "sub": ops.subtract, "eq": ops.equal, "ge": ops.greater_equal, "gt": ops.greater,
            "le": ops.less_equal, "lt": ops.less, "ne": ops.not_equal,
            "logical_and": ops.logical_and, "logical_or": ops.logical_or,
        }.items()
    },
    "clamp": _clamp, "relu": _relu, "elu": _elu, "gelu": _gelu, "leaky_relu": _leaky_relu, "softplus": _softplus, "where": _where,
    "_to_copy": _cast,
}
"""Converters by an ATen operator's name."""
