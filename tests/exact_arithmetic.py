"""The reference of INT8: every quantized operator of a payload in exact integers and float64, beside what the engine gives.

Each operator reads the reference's results, so that a difference is the kernel's own and none is handed on.
"""
from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from sparkq.engines.base import LoadOptions
from sparkq.engines.load import load_engine

Floats = npt.NDArray[np.float32]


class ExactArithmetic(TorchDispatchMode):
    """Computes ``clamp(round_half_even(value / scale) + zero point)`` for what the engine computes in its own way.

    Attributes
    ----------
    elements, different, ties : Counter
        By kernel: how many results, how many of them are not the reference's, and how many values lay within a
        30 millionths of a step of the middle between two.
    """

    def __init__(self) -> None:
        super().__init__()
        self.elements: Counter[str] = Counter()
        self.different: Counter[str] = Counter()
        self.ties: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator."""
        got = func(*args, **(kwargs or {}))
        name = func._schema.name
        value = _value(name, args)
        if value is None:
            return got
        kernel, exact = value
        scale, zero_point = got.q_scale(), got.q_zero_point()
        steps = exact / scale
        lowest = zero_point if name.endswith("_relu") else 0
        expected = (steps.round() + zero_point).clamp(lowest, 255)
        inside = (expected > lowest) & (expected < 255)
        self.elements[kernel] += expected.numel()
        self.different[kernel] += int((got.int_repr() != expected).sum())
        self.ties[kernel] += int((((steps - steps.floor() - 0.5).abs() < 3e-5) & inside).sum())
        integers = torch.empty_like(got.int_repr()).copy_(expected)
        return torch._make_per_tensor_quantized_tensor(integers, scale, zero_point)


def _value(name: str, args: Any) -> tuple[str, Tensor] | None:
    """Kernel, and what it computes before rounding, float64."""
    if name == "aten::quantize_per_tensor":
        # A mean over a plane, taken in float, may lie anywhere.
        return "mean" if args[0].shape[2:] in ((), (1, 1)) else "quantize", args[0].double()
    if name in ("quantized::add", "quantized::add_relu"):
        return "add", _exact(args[0]) + _exact(args[1])
    if name in ("quantized::linear", "quantized::linear_relu"):
        weight, bias = torch.ops.quantized.linear_unpack(args[1])
        return "linear", F.linear(_exact(args[0]), _exact(weight), None if bias is None else bias.double())
    if name in ("quantized::conv2d", "quantized::conv2d_relu"):
        packed = args[1]
        weight, bias = torch.ops.quantized.conv2d_unpack(packed)
        kernel = "depthwise" if weight.shape[1] == 1 and packed.groups() > 1 else "1x1" if weight[0, 0].numel() == 1 else "dense"
        # Integer sums first: products of scales are not exact in float64, and would hide what is a tie.
        sums = F.conv2d(
            args[0].int_repr().double() - args[0].q_zero_point(), weight.int_repr().double(), None, packed.stride(),
            packed.padding(), packed.dilation(), packed.groups(),
        )
        scaled = sums * (weight.q_per_channel_scales().double() * args[0].q_scale()).view(1, -1, 1, 1)
        return kernel, scaled if bias is None else scaled + bias.double().view(1, -1, 1, 1)
    return None


def _exact(tensor: Tensor) -> Tensor:
    integers = tensor.int_repr().double()
    if tensor.qscheme() == torch.per_channel_affine:
        return integers * tensor.q_per_channel_scales().double().view(-1, *[1] * (tensor.ndim - 1))
    return (integers - tensor.q_zero_point()) * tensor.q_scale()


def run_exactly(payload: bytes, images: npt.NDArray[np.uint8], engine: str = "fbgemm") -> tuple[Floats, ExactArithmetic]:
    """The reference's outputs for `images`, float32 [N, C], and how one of torch's engines differs from it."""
    loaded = load_engine(payload, engine, LoadOptions((images.shape[1], images.shape[2])))
    with ExactArithmetic() as exact:
        output = loaded.run(images)
    return output, exact
