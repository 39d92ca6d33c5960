"""The translation of aten operators of image classifiers, one function an operator."""
from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparkq.float_models.exported.step import AtenStep
from sparkq.float_models.graph_builder import ACTIVATIONS, BATCH, UnsupportedError, Value, batch_norm, convolution, linear

__all__ = ["CHECKS", "CONSTANT_OPERATORS", "FUNCTIONS", "OPERATORS"]


def _pair(value: Any) -> list[int]:
    return list(value) if isinstance(value, list) else [value, value]


def _conv2d(step: AtenStep) -> Value:
    if step.get("transposed"):
        raise UnsupportedError("a transposed convolution")
    padding = step.get("padding", [0, 0])
    module = convolution(
        step.constant("weight"), step.constant("bias"), stride=_pair(step.get("stride", 1)),
        padding=padding if isinstance(padding, str) else _pair(padding), dilation=_pair(step.get("dilation", 1)),
        groups=step.get("groups", 1),
    )
    return step.layer(module, "weight")


def _batch_norm(step: AtenStep) -> Value:
    if step.get("training"):
        raise UnsupportedError("BatchNorm in training mode")
    module = batch_norm(
        step.constant("weight"), step.constant("bias"), step.constant("running_mean"), step.constant("running_var"),
        epsilon=step.get("eps", 1e-5), rank=len(step.input.shape),
    )
    return step.layer(module, "weight", "running_mean")


def _linear(step: AtenStep) -> Value:
    return step.layer(linear(step.constant("weight"), step.constant("bias")), "weight")


def _addmm(step: AtenStep) -> Value:
    value, weight = step.get("mat1"), step.get("mat2")
    if not isinstance(value, Value) or not isinstance(weight, Tensor) or step.get("alpha", 1) != 1 or step.get("beta", 1) != 1:
        raise UnsupportedError("a matrix product that is no linear layer")
    bias = torch.broadcast_to(step.constant("self"), (weight.shape[1],))
    return step.builder.module(step.name("self"), linear(weight.t(), bias), value)


def _matmul(step: AtenStep) -> Value:
    value, other = step.input, step.get("other", step.get("mat2"))
    if isinstance(other, Tensor) and other.ndim == 2:
        return step.builder.module(step.name(), linear(other.t(), None), value)
    return step.builder.function(torch.matmul, value, other)


def _clamp(step: AtenStep) -> Value:
    low, high = (step.get(key) for key in (("min", "max") if "min" in step.arguments or "max" in step.arguments
                                           else ("min_val", "max_val")))
    if step.call.operator.startswith("aten.hardtanh"):
        low, high = (-1 if low is None else low), (1 if high is None else high)
    if low == 0 and high in (6, None):
        return step.layer(nn.ReLU6() if high == 6 else nn.ReLU())
    return step.builder.function(torch.clamp, step.input, low, high)


def _reshape(step: AtenStep) -> Value:
    shape = step.get("shape", step.get("size"))
    return step.builder.reshaped(step.input, [int(size) for size in shape], step.batches)


def _flatten(step: AtenStep) -> Value:
    rank = len(step.input.shape)
    start, end = int(step.get("start_dim", 0)) % rank, int(step.get("end_dim", -1)) % rank
    if start == 0:
        raise UnsupportedError("it mixes the images of a batch")
    return step.builder.function(torch.flatten, step.input, start, end)


def _add(step: AtenStep) -> Value:
    if step.get("alpha", 1) != 1:
        raise UnsupportedError("a factor alpha")
    return step.builder.function(operator.add, step.get("self"), step.get("other"))


def _sub(step: AtenStep) -> Value:
    if step.get("alpha", 1) != 1:
        raise UnsupportedError("a factor alpha")
    return step.builder.function(operator.sub, step.get("self"), step.get("other"))


def _size_of(step: AtenStep) -> int:
    dimension = int(step.get("dim")) % len(step.input.shape)
    return BATCH if dimension == 0 else step.input.shape[dimension]


def _squeeze(step: AtenStep) -> Value:
    dimensions = step.get("dim")
    given = range(len(step.input.shape)) if dimensions is None else dimensions if isinstance(dimensions, list) else [dimensions]
    axes = sorted({axis % len(step.input.shape) for axis in given} - {0}, reverse=True)
    value = step.input
    for axis in axes:
        if value.shape[axis] == 1:
            value = step.builder.function(torch.squeeze, value, axis)
    return value


def _split(step: AtenStep) -> list[Value]:
    dimension, size = int(step.get("dim", 0)) % len(step.input.shape), step.get("split_size", step.get("split_sizes"))
    total = step.input.shape[dimension]
    if "chunks" in step.arguments:
        size = math.ceil(total / step.get("chunks"))
    if dimension == 0:
        raise UnsupportedError("it takes the batch apart")
    sizes = size if isinstance(size, list) else [min(size, total - start) for start in range(0, total, size)]
    return [step.builder.function(torch.narrow, step.input, dimension, sum(sizes[:i]), sizes[i]) for i in range(len(sizes))]


def _slice(step: AtenStep) -> Value:
    dimension = int(step.get("dim", 0)) % len(step.input.shape)
    start, end, stride = step.get("start"), step.get("end"), step.get("step", 1)
    if dimension == 0:
        if start in (None, 0) and (end is None or end >= BATCH or end in step.batches) and stride == 1:
            return step.input
        raise UnsupportedError("it takes the batch apart")
    index = (*[slice(None)] * dimension, slice(start, None if end is not None and end >= 2**62 else end, stride))
    return step.builder.function(operator.getitem, step.input, index)


def _pad(step: AtenStep) -> Value:
    return step.builder.function(F.pad, step.input, tuple(step.get("pad")), step.get("mode", "constant"), step.get("value"))


def _pool(kind: type[nn.Module], *names: str) -> Callable[[AtenStep], Value]:
    def pool(step: AtenStep) -> Value:
        options = {name: step.get(name) for name in names if step.get(name) not in (None, [])}
        pairs = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
        return step.layer(kind(**pairs))
    return pool


def _activation(make: Callable[[], nn.Module]) -> Callable[[AtenStep], Value]:
    return lambda step: step.layer(make())


def _same(step: AtenStep) -> Value:
    return step.input


def _cast(step: AtenStep) -> Value:
    if step.get("dtype") not in (None, torch.float32):
        raise UnsupportedError(f"a cast to {step.get('dtype')}")
    return step.input


def _softmax(step: AtenStep) -> Value:
    return step.builder.function(torch.softmax, step.input, step.get("dim"))


def _layer_norm(step: AtenStep) -> Value:
    # The last argument of aten's is about cuDNN.
    return step.builder.function(
        F.layer_norm, step.input, tuple(step.get("normalized_shape")), step.get("weight"), step.get("bias"),
        step.get("eps", 1e-5),
    )


def _elu(step: AtenStep) -> Value:
    return step.layer(nn.ELU(step.get("alpha", 1.0)))


def _expand(step: AtenStep) -> Value:
    first, *rest = step.get("size")
    sizes = [-1 if first == BATCH or first in step.batches else int(first), *map(int, rest)]
    return step.builder.function(torch.broadcast_to, step.input, tuple(sizes))


def _numbers(function: Callable[[Any, Any], Any]) -> Callable[[AtenStep], Any]:
    def compute(step: AtenStep) -> Any:
        left, right = (step.get(key) for key in list(step.arguments)[:2])
        if BATCH in (left, right):
            raise UnsupportedError("it computes with the batch size")
        return function(left, right)
    return compute


_MAX_POOL = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
_AVG_POOL = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")

OPERATORS: dict[str, Callable[[AtenStep], Any]] = {
    **{f"aten.{name}": _activation(make) for name, make in ACTIVATIONS.items()},
    "aten.conv2d": _conv2d, "aten.convolution": _conv2d, "aten.batch_norm": _batch_norm,
    "aten._native_batch_norm_legit_no_training": _batch_norm, "aten.linear": _linear, "aten.addmm": _addmm,
    "aten.mm": _matmul, "aten.matmul": _matmul, "aten.clamp": _clamp, "aten.clamp_min": _clamp,
    "aten.hardtanh": _clamp, "aten.view": _reshape, "aten.reshape": _reshape, "aten._unsafe_view": _reshape,
    "aten.flatten": _flatten, "aten.add": _add, "aten.sub": _sub, "aten.sym_size": _size_of, "aten.squeeze": _squeeze,
    "aten.split": _split, "aten.split_with_sizes": _split, "aten.chunk": _split, "aten.slice": _slice, "aten.pad": _pad,
    "aten.constant_pad_nd": _pad, "aten.expand": _expand, "aten.max_pool2d": _pool(nn.MaxPool2d, *_MAX_POOL),
    "aten.avg_pool2d": _pool(nn.AvgPool2d, *_AVG_POOL),
    "aten.adaptive_avg_pool2d": _pool(nn.AdaptiveAvgPool2d, "output_size"),
    "aten.adaptive_max_pool2d": _pool(nn.AdaptiveMaxPool2d, "output_size"),
    **dict.fromkeys(("aten.dropout", "aten.feature_dropout", "aten.clone", "aten.contiguous", "aten.alias", "aten.detach",
                     "aten.lift_fresh_copy"), _same),
    "aten.to": _cast, "aten._to_copy": _cast,
    "aten.softmax": _softmax, "aten._softmax": _softmax, "aten.elu": _elu, "aten.layer_norm": _layer_norm,
    "_operator.add": _numbers(operator.add), "_operator.sub": _numbers(operator.sub), "_operator.mul": _numbers(operator.mul),
    "_operator.floordiv": _numbers(operator.floordiv),
}
"""By the operator's name without its overload."""

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "aten.mul": operator.mul, "aten.div": operator.truediv, "aten.mean": torch.mean, "aten.cat": torch.cat,
    "aten.permute": torch.permute, "aten.transpose": torch.transpose, "aten.unsqueeze": torch.unsqueeze, "aten.gelu": F.gelu,
    "aten.leaky_relu": F.leaky_relu, "aten.log_softmax": torch.log_softmax,
    "aten.exp": torch.exp, "aten.sqrt": torch.sqrt, "aten.rsqrt": torch.rsqrt,
    "aten.pow": torch.pow, "aten.neg": torch.neg, "aten.abs": torch.abs, "aten.amax": torch.amax,
    "aten.sum": torch.sum, "aten.select": torch.select, "aten.maximum": torch.maximum, "aten.minimum": torch.minimum,
    "aten.bmm": torch.bmm, "aten.unflatten": torch.unflatten, "aten.prelu": F.prelu, "aten.erf": torch.erf,
    "aten.pixel_shuffle": F.pixel_shuffle, "aten.channel_shuffle": F.channel_shuffle,
}
"""Operators whose torch function takes the same arguments in the same order."""

CHECKS = frozenset({
    "aten._assert_scalar", "aten._assert_tensor_metadata", "aten.sym_constrain_range_for_size", "aten.sym_constrain_range",
    *(f"_operator.{name}" for name in ("eq", "ne", "ge", "gt", "le", "lt", "and_")),
})
"""An exporter's assertions about sizes; they compute nothing."""

CONSTANT_OPERATORS = frozenset({*OPERATORS, *FUNCTIONS, "aten.t", "aten.var_mean", "aten.rsub", "aten.reciprocal"})
"""Operators that may be computed from weights alone, for example by weight standardization."""
