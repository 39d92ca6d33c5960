"""Layers with INT8 weights and inputs whose result stays in float: sums of integers that are scaled, but not rounded."""
from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from sparkq.engines.torch_graph.float_kernels import Kernel
from sparkq.program.types import Array, Node

__all__ = ["exact_linear", "onednn_sums"]

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


def onednn_sums(node: Node, weight: Node, scale: float, zero_point: int, constants: Mapping[str, Array]) -> Kernel:
    """Return a kernel of oneDNN for a convolution or linear layer without bias: quantized tensor to float32.

    Parameters
    ----------
    node : Node
        ``conv2d`` or ``linear``.
    weight, scale, zero_point, constants
        As for `exact_linear`.
    """
    integers, scales, _ = (torch.from_numpy(constants[str(name)].copy()) for name in weight.inputs)
    scales, zeros = scales.float(), torch.zeros(len(scales), dtype=torch.int32)
    if node.operator == "aten.linear":
        packed = torch.ops.onednn.qlinear_prepack(integers, None)
        return lambda x: torch.ops.onednn.qlinear_pointwise(
            x.int_repr(), scale, zero_point, packed, scales, zeros, None, 1.0, 0, torch.float32, "none", [], "",
        )
    geometry = [list(node.attribute(name)) for name in ("stride", "padding", "dilation")]
    packed = torch.ops.onednn.qconv_prepack(integers, scales, scale, zero_point, *geometry, node.attribute("groups"), None)
    return lambda x: torch.ops.onednn.qconv_pointwise(
        x.int_repr(), scale, zero_point, packed, scales, zeros, None, *geometry, node.attribute("groups"), 1.0, 0, torch.float32,
        "none", [], "",
    )
