"""The translation of ONNX operators without weights: activations, pooling, shapes, layout."""
from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial, reduce
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from sparkq.float_models.graph_builder import BATCH, UnsupportedError, Value
from sparkq.float_models.onnx.layers import LAYERS, split_padding
from sparkq.float_models.onnx.step import Array, OnnxStep, tensor_of

__all__ = ["OPERATORS"]

_Result = Value | Array | list[Value]
_FLOAT = 1
_PAD_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}


def _clip(step: OnnxStep) -> Value:
    low, high = step.scalar(1, "min"), step.scalar(2, "max")
    # Exporters write the ends of float32 where there is no limit.
    low, high = (None if limit is None or abs(limit) > 1e38 else limit for limit in (low, high))
    if low == 0 and high in (6, None):
        return step.pointwise(nn.ReLU6() if high == 6 else nn.ReLU())
    return step.value() if low is None and high is None else step.pointwise(torch.clamp, low, high)


def _hard_sigmoid(step: OnnxStep) -> Value:
    alpha, beta = step.attribute("alpha", 0.2), step.attribute("beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-4 and beta == 0.5:
        return step.pointwise(nn.Hardsigmoid())
    scaled = step.pointwise(operator.mul, alpha)
    shifted = step.builder.function(operator.add, Value(scaled.node, scaled.example), beta)
    result = step.builder.function(torch.clamp, shifted, 0.0, 1.0)
    return Value(result.node, result.example, scaled.order)


def _prelu(step: OnnxStep) -> Value:
    return step.builder.function(F.prelu, step.plain(), step.needed(1).reshape(-1))


def _max_pool(step: OnnxStep) -> Value:
    kernel, strides = step.attribute("kernel_shape"), step.attribute("strides", [1, 1])
    dilations = step.attribute("dilations", [1, 1])
    pads, is_symmetric = split_padding(step, kernel, strides, dilations)
    inside = is_symmetric and all(2 * pad <= size for pad, size in zip(pads, kernel, strict=False))
    value = step.plain()
    if not inside:
        value = step.builder.function(F.pad, value, (pads[1], pads[3], pads[0], pads[2]), "constant", -torch.inf)
    padding = (pads[0], pads[1]) if inside else (0, 0)
    ceil_mode = bool(step.attribute("ceil_mode", 0))
    module = nn.MaxPool2d(tuple(kernel), tuple(strides), padding, tuple(dilations), ceil_mode=ceil_mode)
    return step.builder.module(step.layer_name, module, value)


def _average_pool(step: OnnxStep) -> Value:
    kernel, strides = step.attribute("kernel_shape"), step.attribute("strides", [1, 1])
    pads, is_symmetric = split_padding(step, kernel, strides, [1, 1])
    counts_padding, ceil_mode = bool(step.attribute("count_include_pad", 0)), bool(step.attribute("ceil_mode", 0))
    if is_symmetric and all(2 * pad <= size for pad, size in zip(pads, kernel, strict=False)):
        return step.layer(nn.AvgPool2d(tuple(kernel), tuple(strides), (pads[0], pads[1]), ceil_mode, counts_padding))
    pool = nn.AvgPool2d(tuple(kernel), tuple(strides), ceil_mode=ceil_mode)
    edges = (pads[1], pads[3], pads[0], pads[2])
    value = step.builder.module(step.layer_name, pool, step.builder.function(F.pad, step.plain(), edges))
    if counts_padding:
        return value
    # Each window's share of real pixels: what is padded does not count.
    share = pool(F.pad(torch.ones(1, 1, *step.plain().shape[2:]), edges))
    return step.builder.function(operator.truediv, value, share)


def _reduce(step: OnnxStep, function: Callable[..., Any]) -> Value:
    value = step.value()
    rank = len(value.shape)
    given = step.numbers(1, "axes")
    axes = sorted(axis % rank for axis in (range(rank) if given is None else given))
    if 0 in axes:
        raise UnsupportedError("it reduces over the images of a batch")
    order = value.order or tuple(range(rank))
    keeps = bool(step.attribute("keepdims", 1))
    result = step.builder.function(function, Value(value.node, value.example), tuple(order[axis] for axis in axes), keeps)
    if keeps:
        return Value(result.node, result.example, value.order)
    left = [order[axis] for axis in range(rank) if axis not in axes]
    return step.builder.permuted(result, [sorted(left).index(axis) for axis in left])


def _softmax(step: OnnxStep, function: Callable[..., Any]) -> Value:
    value = step.plain()
    rank = len(value.shape)
    axis = int(step.attribute("axis", 1 if step.opset < 13 else -1)) % rank
    if step.opset < 13 and any(size != 1 for size in value.shape[axis + 1:]):
        raise UnsupportedError("a softmax over several dimensions")
    return step.builder.function(function, value, axis)


def _reshape(step: OnnxStep) -> Value:
    target, value = step.numbers(1, "shape"), step.value()
    if target is None:
        raise UnsupportedError("its shape is missing")
    if not step.attribute("allowzero", 0):
        target = [(value.shape[axis] if axis else BATCH) if size == 0 else size for axis, size in enumerate(target)]
    return step.builder.reshaped(value, target, step.batches)


def _flatten(step: OnnxStep) -> Value:
    value = step.plain()
    if int(step.attribute("axis", 1)) % len(value.shape) != 1:
        raise UnsupportedError("it mixes the images of a batch")
    return value if len(value.shape) == 2 else step.builder.function(torch.flatten, value, 1)


def _squeeze(step: OnnxStep) -> Value:
    value = step.plain()
    rank = len(value.shape)
    given = step.numbers(1, "axes")
    axes = [axis for axis in range(1, rank) if value.shape[axis] == 1] if given is None else [axis % rank for axis in given]
    return step.builder.reshaped(value, [BATCH if axis == 0 else value.shape[axis] for axis in range(rank) if axis not in axes])


def _unsqueeze(step: OnnxStep) -> Value:
    value, given = step.plain(), step.numbers(1, "axes") or []
    rank = len(value.shape) + len(given)
    for axis in sorted(axis % rank for axis in given):
        value = step.builder.function(torch.unsqueeze, value, axis)
    return value


def _transpose(step: OnnxStep) -> Value:
    value = step.value()
    return step.builder.permuted(value, step.attribute("perm") or range(len(value.shape))[::-1])


def _concat(step: OnnxStep) -> Value:
    values = [step.value(index) for index in range(len(step.inputs))]
    axis = int(step.attribute("axis")) % len(values[0].shape)
    if axis == 0:
        raise UnsupportedError("it joins batches")
    order = values[0].order
    if order is None or any(value.order != order for value in values):
        return step.builder.function(torch.cat, [step.builder.plain(value) for value in values], axis)
    result = step.builder.function(torch.cat, [Value(value.node, value.example) for value in values], order[axis])
    return Value(result.node, result.example, order)


def _split(step: OnnxStep) -> list[Value]:
    value = step.plain()
    axis = int(step.attribute("axis", 0)) % len(value.shape)
    parts = len(step.node.outputs)
    longest = -(-value.shape[axis] // parts)
    sizes = step.numbers(1, "split") or [min(longest, value.shape[axis] - longest * part) for part in range(parts)]
    if axis == 0:
        raise UnsupportedError("it takes the batch apart")
    return [step.builder.function(torch.narrow, value, axis, sum(sizes[:part]), sizes[part]) for part in range(parts)]


def _slice(step: OnnxStep) -> Value:
    value, starts, ends = step.plain(), step.numbers(1, "starts") or [], step.numbers(2, "ends") or []
    axes, steps = step.numbers(3, "axes") or list(range(len(starts))), step.numbers(4, "steps") or [1] * len(starts)
    index = [slice(None)] * len(value.shape)
    for start, end, axis, stride in zip(starts, ends, axes, steps, strict=True):
        if stride < 1:
            raise UnsupportedError("a step backwards")
        # Exporters write the ends of int64 for "to the end".
        index[axis % len(index)] = slice(start or None, None if end >= value.shape[axis] else end, stride)
    if index[0] != slice(None, None, 1) and index[0] != slice(None):
        raise UnsupportedError("it takes the batch apart")
    return step.builder.function(operator.getitem, value, (slice(None), *index[1:]))


def _gather(step: OnnxStep) -> Value:
    value, indices = step.plain(), step.constant(1)
    axis = int(step.attribute("axis", 0)) % len(value.shape)
    if axis == 0 or indices is None or indices.ndim > 1:
        raise UnsupportedError("it takes the batch apart, or gathers by a table")
    wrapped = np.asarray(indices, np.int64) % value.shape[axis]
    if wrapped.ndim == 0:
        return step.builder.function(torch.select, value, axis, int(wrapped))
    return step.builder.function(torch.index_select, value, axis, torch.from_numpy(wrapped))


def _pad(step: OnnxStep) -> Value:
    value, pads, mode = step.value(), step.numbers(1, "pads") or [], step.attribute("mode", "constant")
    rank = len(value.shape)
    axes = [axis % rank for axis in (step.numbers(3, "axes") or range(rank))]
    order = value.order or tuple(range(rank))
    sides = [(0, 0)] * rank
    for index, axis in enumerate(axes):
        sides[order[axis]] = (pads[index], pads[index + len(axes)])
    if sides[0] != (0, 0) or mode not in _PAD_MODES:
        raise UnsupportedError("padding of the batch dimension" if mode in _PAD_MODES else f"padding mode {mode}")
    first = next((axis for axis, side in enumerate(sides) if side != (0, 0)), None)
    if first is None:
        return value
    # torch counts from the last dimension.
    widths = tuple(width for side in reversed(sides[first:]) for width in side)
    fill = (step.scalar(2, "value") or 0.0) if mode == "constant" else None
    return step.pointwise(F.pad, widths, _PAD_MODES[mode], fill)


def _shape(step: OnnxStep) -> Array:
    value = step.value()
    sizes = list(value.shape)
    sizes[0 if value.order is None else value.order.index(0)] = BATCH
    return np.asarray(sizes[step.attribute("start", 0):step.attribute("end", len(sizes))], np.int64)


def _cast(step: OnnxStep) -> Value:
    if step.attribute("to") != _FLOAT:
        raise UnsupportedError("a cast to another type than float32")
    return step.value()


def _same(step: OnnxStep) -> Value:
    return step.value()


def _fold(step: OnnxStep, function: Callable[..., Any]) -> Value:
    values: list[Any] = [
        step.plain(index) if isinstance(given, Value) else tensor_of(np.asarray(given)) for index, given in enumerate(step.inputs)
    ]
    result: Value = reduce(partial(step.builder.function, function), values)
    return result


def _layer_normalization(step: OnnxStep) -> Value:
    value = step.plain()
    if int(step.attribute("axis", -1)) % len(value.shape) != len(value.shape) - 1:
        raise UnsupportedError("a normalization over several dimensions")
    return step.builder.function(
        F.layer_norm, value, (value.shape[-1],), step.weight(1), step.weight(2), step.attribute("epsilon", 1e-5),
    )


def _lrn(step: OnnxStep) -> Value:
    size, alpha = step.attribute("size"), step.attribute("alpha", 1e-4)
    return step.layer(nn.LocalResponseNorm(size, alpha, step.attribute("beta", 0.75), step.attribute("bias", 1.0)))


_ACTIVATIONS: dict[str, Callable[[OnnxStep], nn.Module]] = {
    "Relu": lambda step: nn.ReLU(), "Sigmoid": lambda step: nn.Sigmoid(), "Tanh": lambda step: nn.Tanh(),
    "HardSwish": lambda step: nn.Hardswish(), "Softplus": lambda step: nn.Softplus(), "Mish": lambda step: nn.Mish(),
    "LeakyRelu": lambda step: nn.LeakyReLU(step.attribute("alpha", 0.01)),
    "Elu": lambda step: nn.ELU(step.attribute("alpha", 1.0)),
    "Gelu": lambda step: nn.GELU(step.attribute("approximate", "none")),
}
_FUNCTIONS = {
    "Erf": torch.erf, "Sqrt": torch.sqrt, "Exp": torch.exp, "Log": torch.log, "Abs": torch.abs, "Neg": torch.neg,
    "Reciprocal": torch.reciprocal,
}

OPERATORS: dict[str, Callable[[OnnxStep], _Result]] = {
    **LAYERS,
    **{name: lambda step, make=make: step.pointwise(make(step)) for name, make in _ACTIVATIONS.items()},  # type: ignore[misc]
    **{name: partial(OnnxStep.pointwise, what=function) for name, function in _FUNCTIONS.items()},
    "Clip": _clip, "HardSigmoid": _hard_sigmoid, "PRelu": _prelu, "Pow": partial(_fold, function=torch.pow),
    "Sum": partial(_fold, function=torch.add), "Max": partial(_fold, function=torch.maximum),
    "Min": partial(_fold, function=torch.minimum), "MaxPool": _max_pool, "AveragePool": _average_pool,
    "GlobalAveragePool": lambda step: step.layer(nn.AdaptiveAvgPool2d(1)),
    "GlobalMaxPool": lambda step: step.layer(nn.AdaptiveMaxPool2d(1)),
    "ReduceMean": partial(_reduce, function=torch.mean), "ReduceSum": partial(_reduce, function=torch.sum),
    "ReduceMax": partial(_reduce, function=torch.amax), "Softmax": partial(_softmax, function=torch.softmax),
    "LogSoftmax": partial(_softmax, function=torch.log_softmax), "Reshape": _reshape, "Flatten": _flatten,
    "Squeeze": _squeeze, "Unsqueeze": _unsqueeze, "Transpose": _transpose, "Concat": _concat, "Split": _split, "Slice": _slice,
    "Gather": _gather, "Pad": _pad, "Shape": _shape, "Cast": _cast, "Identity": _same, "Dropout": _same, "LRN": _lrn,
    "LayerNormalization": _layer_normalization,
}
"""By operator."""
