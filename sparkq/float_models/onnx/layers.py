"""Layers with weights, and arithmetic with constants that belongs into them: Conv, BatchNormalization, Gemm, MatMul, Add."""
from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparkq.float_models.graph_builder import UnsupportedError, Value, batch_norm, convolution, linear
from sparkq.float_models.onnx.step import Array, OnnxStep, tensor_of

__all__ = ["LAYERS", "split_padding"]


def split_padding(
    step: OnnxStep, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int],
) -> tuple[list[int], bool]:
    """Padding (top, left, bottom, right) of a window operator, and whether it is the same on opposite sides."""
    if len(kernel) != 2:
        raise UnsupportedError(f"expected windows in two dimensions; got a kernel of {list(kernel)}")
    mode = step.attribute("auto_pad", "NOTSET")
    pads = list(step.attribute("pads", [0, 0, 0, 0])) if mode == "NOTSET" else [0, 0, 0, 0]
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        for axis, size in enumerate(step.plain().shape[2:]):
            covered = (-(-size // strides[axis]) - 1) * strides[axis] + (kernel[axis] - 1) * dilations[axis] + 1
            total = max(covered - size, 0)
            small, large = total // 2, total - total // 2
            pads[axis], pads[axis + 2] = (small, large) if mode == "SAME_UPPER" else (large, small)
    return pads, pads[:2] == pads[2:]


def _conv(step: OnnxStep) -> Value:
    weight, bias = step.needed(1), step.weight(2)
    strides, dilations = step.attribute("strides", [1, 1]), step.attribute("dilations", [1, 1])
    pads, is_symmetric = split_padding(step, weight.shape[2:], strides, dilations)
    module = convolution(
        weight, bias, stride=strides, padding=pads[:2] if is_symmetric else [0, 0], dilation=dilations,
        groups=step.attribute("group", 1),
    )
    value = step.plain()
    if not is_symmetric:
        value = step.builder.function(F.pad, value, (pads[1], pads[3], pads[0], pads[2]))
    return step.builder.module(step.layer_name, module, value)


def _batch_normalization(step: OnnxStep) -> Value:
    if step.attribute("training_mode", 0):
        raise UnsupportedError("BatchNormalization in training mode")
    value = step.plain()
    module = batch_norm(
        step.needed(1), step.needed(2), step.needed(3), step.needed(4), epsilon=step.attribute("epsilon", 1e-5),
        rank=len(value.shape),
    )
    return step.builder.module(step.layer_name, module, value)


def _gemm(step: OnnxStep) -> Value:
    if step.attribute("transA", 0):
        raise UnsupportedError("a transposed input")
    weight = step.needed(1) * step.attribute("alpha", 1.0)
    weight = weight if step.attribute("transB", 0) else weight.t()
    bias = step.weight(2)
    if bias is not None:
        bias = torch.broadcast_to(bias.reshape(-1) * step.attribute("beta", 1.0), (weight.shape[0],))
    return step.builder.module(step.layer_name, linear(weight, bias), step.plain())


def _matmul(step: OnnxStep) -> Value:
    if isinstance(step.inputs[1], Value):
        return step.builder.function(torch.matmul, step.plain(0), step.plain(1))
    weight = step.needed(1)
    if weight.ndim != 2:
        raise UnsupportedError(f"expected a weight of two dimensions; got {list(weight.shape)}")
    return step.builder.module(step.layer_name, linear(weight.t(), None), step.plain())


def _arithmetic(kind: str, function: Callable[..., Any]) -> Callable[[OnnxStep], Value]:
    return partial(_combine, kind=kind, function=function)


def _combine(step: OnnxStep, kind: str, function: Callable[..., Any]) -> Value:
    left, right = step.inputs[:2]
    if isinstance(left, Value) and isinstance(right, Value):
        return _combine_values(step, left, right, function)
    value, constant = (left, right) if isinstance(left, Value) else (right, left)
    if not isinstance(value, Value) or constant is None or isinstance(constant, Value):
        raise UnsupportedError("an input is missing")
    base = Value(value.node, value.example)
    array = _in_base_order(constant, value)
    is_first = value is left
    if is_first or kind in ("Add", "Mul"):
        taken = _taken_into_layer(step, base, array, kind)
        if taken is not None:
            return Value(taken.node, taken.example, value.order)
    other: Any = float(array.reshape(-1)[0]) if array.size == 1 else tensor_of(array)
    result = step.builder.function(function, *((base, other) if is_first else (other, base)))
    return Value(result.node, result.example, value.order)


def _combine_values(step: OnnxStep, left: Value, right: Value, function: Callable[..., Any]) -> Value:
    if left.order == right.order and len(left.shape) == len(right.shape):
        result = step.builder.function(function, Value(left.node, left.example), Value(right.node, right.example))
        return Value(result.node, result.example, left.order)
    return step.builder.function(function, step.plain(0), step.plain(1))


def _in_base_order(constant: Array, value: Value) -> Array:
    """`constant`, which is broadcast against `value`, as it is broadcast against what is there before the permutation."""
    array = np.asarray(constant)
    rank = len(value.shape)
    if array.ndim > rank:
        raise UnsupportedError(f"a constant of {array.ndim} dimensions with a value of {rank}")
    array = array.reshape((1,) * (rank - array.ndim) + array.shape)
    return array if value.order is None else array.transpose(np.argsort(value.order))


def _taken_into_layer(step: OnnxStep, value: Value, array: Array, kind: str) -> Value | None:
    """Add a constant a channel to the bias of the layer before; make a factor a channel a BatchNorm, which FX folds.

    Caffe (Scale), TensorFlow (BiasAdd) and Paddle (elementwise_add) write biases and BatchNorm so.
    """
    module = step.builder.module_of(value)
    rank = len(value.shape)
    channel = rank - 1 if isinstance(module, nn.Linear) else 1
    is_per_channel = all(size == 1 for axis, size in enumerate(array.shape) if axis != channel)
    is_layer = isinstance(module, (nn.Conv2d, nn.Linear, nn.BatchNorm2d))
    if module is None or not is_layer or not is_per_channel or not step.is_exclusive(value):
        return None
    numbers = torch.broadcast_to(tensor_of(array).reshape(-1), (value.shape[channel],)).clone()
    if kind in ("Add", "Sub"):
        _add_to_bias(module, -numbers if kind == "Sub" else numbers)
        return value
    if isinstance(module, nn.Linear):
        return None
    factor = 1 / numbers if kind == "Div" else numbers
    norm = batch_norm(factor, torch.zeros_like(factor), torch.zeros_like(factor), torch.ones_like(factor), epsilon=0.0)
    return step.builder.module(f"{step.layer_name}_scale", norm, value)


def _add_to_bias(module: nn.Module, numbers: Tensor) -> None:
    bias = module.bias
    total = numbers if bias is None else numbers + bias.detach()  # type: ignore[operator]
    module.bias = nn.Parameter(total, requires_grad=False)


LAYERS: dict[str, Callable[[OnnxStep], Value]] = {
    "Conv": _conv, "BatchNormalization": _batch_normalization, "Gemm": _gemm, "MatMul": _matmul,
    "Add": _arithmetic("Add", operator.add), "Sub": _arithmetic("Sub", operator.sub),
    "Mul": _arithmetic("Mul", operator.mul), "Div": _arithmetic("Div", operator.truediv),
}
"""By operator."""
