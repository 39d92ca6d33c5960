"""Layers with INT8 weights and inputs whose result stays in float: sums of integers that are scaled, but not rounded."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sparkq.engines.torch_graph.float_kernels import Kernel
from sparkq.program.types import Array, Node

__all__ = ["exact_linear", "onednn_layer"]

_EXACT_IN_FLOAT32 = 2**24
_LARGEST_PRODUCT = 255 * 127


def exact_linear(node: Node, weight: Node, scale: float, zero_point: int, constants: Mapping[str, Array]) -> Kernel:
    """Return a kernel for float32 [N, K], which it rounds to unsigned integers itself, to float32 [N, C].

    The integers are multiplied as floating-point numbers wide enough to hold each sum exactly: the order of summation, and with
    it the batch, cannot show. Last layers are a thousandth of a network's work.

    Parameters
    ----------
    node : Node
        ``linear`` with a bias.
    weight : Node
        The node that dequantizes its weights: symmetric, an output channel each.
    scale, zero_point : float, int
        Of its input.
    constants : mapping of str to ndarray
        The program's.
    """
    integers, scales, _ = (torch.from_numpy(constants[str(name)].copy()) for name in weight.inputs)
    bias = torch.from_numpy(constants[str(node.inputs[2])].copy())
    exact = torch.float32 if integers.shape[1] * _LARGEST_PRODUCT < _EXACT_IN_FLOAT32 else torch.float64
    columns, scales = integers.to(exact).t(), scales.double() * scale

    def kernel(x: Tensor) -> Tensor:
        steps = torch.round(x * (1 / scale)) + zero_point
        steps = torch.clamp(steps, 0, 255) - zero_point
        return (torch.matmul(steps.to(exact), columns) * scales).to(torch.float32) + bias
    return kernel


def onednn_layer(
    node: Node, weight: Node, source: tuple[float, int], constants: Mapping[str, Array], *, relu: bool = False,
    output: tuple[float, int] | None = None,
) -> Kernel:
    """Return a kernel of oneDNN for a convolution or linear layer on plain tensors, which PT2E's own lowering takes as well.

    Parameters
    ----------
    node : Node
        ``conv2d`` or ``linear``.
    weight : Node
        The node that dequantizes its weights: symmetric, an output channel each.
    source : (float, int)
        Scale and zero point of its input, uint8.
    constants : mapping of str to ndarray
        The program's.
    relu : bool
        Whether a ReLU stands behind it.
    output : (float, int), optional
        Scale and zero point of its result, uint8; None gives float32.
    """
    integers, scales, _ = (torch.from_numpy(constants[str(name)].copy()) for name in weight.inputs)
    scales, zeros = scales.float(), torch.zeros(len(scales), dtype=torch.int32)
    bias = None if node.inputs[2] is None else torch.from_numpy(constants[str(node.inputs[2])].copy())
    scale, zero_point = (1.0, 0) if output is None else output
    dtype = torch.float32 if output is None else torch.uint8
    behind: tuple[Any, ...] = (scale, zero_point, dtype, "relu" if relu else "none", [], "")
    if node.operator == "aten.linear":
        packed = torch.ops.onednn.qlinear_prepack(integers, None)
        return lambda x: torch.ops.onednn.qlinear_pointwise(x, *source, packed, scales, zeros, bias, *behind)
    geometry = [list(node.attribute(name)) for name in ("stride", "padding", "dilation")] + [node.attribute("groups")]
    packed = torch.ops.onednn.qconv_prepack(integers, scales, *source, *geometry, None)
    return lambda x: torch.ops.onednn.qconv_pointwise(x, *source, packed, scales, zeros, bias, *geometry, *behind)
