"""Converters of what is computed over dimensions."""
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from sparkq.engines.openvino_graph.call import Call, Converter, Unsupported, integers, number
from sparkq.engines.openvino_graph.library import ops
from sparkq.program.types import ValueType

__all__ = ["REDUCTIONS"]

_Reduction = Callable[[Any, Any, bool], Any]


def _over(function: _Reduction) -> Converter:
    return lambda call: function(call.tensor(), integers(call["dim"]), call["keepdim"])


def _var(call: Call) -> Any:
    """Mean of the squared distances from the mean, times n / (n - correction)."""
    dims, x = integers(call["dim"]), call.tensor()
    centred = ops.subtract(x, ops.reduce_mean(x, dims, True))
    mean = ops.reduce_mean(ops.multiply(centred, centred), dims, call["keepdim"])
    if call["correction"] == 0:
        return mean
    sizes = call.sizes.known(ValueType("float32", tuple(call.type().shape[dim] for dim in call["dim"])))
    if sizes is None:
        raise Unsupported("a variance with a correction over dimensions whose sizes are known before the number of images is")
    count = math.prod(sizes)
    left = max(count - call["correction"], 0)
    return ops.multiply(mean, number(count / left if left else math.inf))


def _vector_norm(call: Call) -> Any:
    x, dims, keepdim, order = call.tensor(), integers(call["dim"]), call["keepdim"], call["ord"]
    if order == 2:
        return ops.reduce_l2(x, dims, keepdim)
    if order == 1:
        return ops.reduce_l1(x, dims, keepdim)
    sizes = ops.abs(x)
    if math.isinf(order):
        return (ops.reduce_max if order > 0 else ops.reduce_min)(sizes, dims, keepdim)
    if order == 0:
        return ops.reduce_sum(ops.select(ops.equal(x, number(0)), number(0), number(1)), dims, keepdim)
    return ops.power(ops.reduce_sum(ops.power(sizes, number(order)), dims, keepdim), number(1 / order))


REDUCTIONS: dict[str, Converter] = {
    "amax": _over(ops.reduce_max), "amin": _over(ops.reduce_min), "mean": _over(ops.reduce_mean), "sum": _over(ops.reduce_sum),
    "var": _var, "linalg_vector_norm": _vector_norm,
    "softmax": lambda call: ops.softmax(call.tensor(), call["dim"]),
    "log_softmax": lambda call: ops.log_softmax(call.tensor(), call["dim"]),
}
"""Converters by an ATen operator's name."""
