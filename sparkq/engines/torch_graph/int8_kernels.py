"""Kernels of torch's quantized backends for dequantize, an operator and quantize in one; tensors are torch's quantized ones."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sparkq.engines.torch_graph.float_kernels import FLOAT_KERNELS, Kernel
from sparkq.program.types import Array, Node

__all__ = ["Fused", "INT8_KERNELS", "KEEPING", "packed_weight", "real_weight"]


class Fused:
    """An operator between integers, as far as a kernel needs to know it.

    Parameters
    ----------
    node : Node
        The float operator.
    relu : bool
        Whether a ReLU stands behind it.
    scale, zero_point : float, int
        What its result is rounded to.
    sources : tuple of (float, int)
        Scale and zero point of each tensor that it takes.
    weight : Tensor, optional
        Of a layer: quantized, with a scale a channel.
    constants : mapping of str to ndarray
        The program's.
    """

    def __init__(
        self, node: Node, relu: bool, scale: float, zero_point: int, sources: tuple[tuple[float, int], ...],
        weight: Tensor | None, constants: Mapping[str, Array],
    ) -> None:
        self.node, self.relu, self.scale, self.zero_point = node, relu, scale, zero_point
        self.sources, self.weight, self.constants = sources, weight, constants

    @property
    def keeps(self) -> bool:
        """Whether what it gives has the scale and zero point of what it takes."""
        return all(source == (self.scale, self.zero_point) for source in self.sources)

    def attribute(self, name: str) -> Any:
        """Return an attribute of the operator; its kind was checked."""
        return self.node.attribute(name)

    def tensor(self, index: int) -> Tensor | None:
        """Return an input that is a constant, or left out."""
        name = self.node.inputs[index]
        return None if name is None else torch.from_numpy(self.constants[str(name)].copy())


def packed_weight(constants: Mapping[str, Array], node: Node) -> Tensor:
    """Build torch's quantized tensor of int8 weights with a scale a channel."""
    integers, scales, zeros = (torch.from_numpy(constants[str(name)].copy()) for name in node.inputs)
    return torch._make_per_channel_quantized_tensor(integers, scales.double(), zeros, node.attribute("axis"))


def real_weight(constants: Mapping[str, Array], node: Node) -> Tensor:
    """Build the float32 tensor that int8 weights with a scale a channel stand for."""
    integers, scales, zeros = (torch.from_numpy(constants[str(name)].copy()).double() for name in node.inputs)
    shape = [-1 if axis == node.attribute("axis") else 1 for axis in range(integers.ndim)]
    return ((integers - zeros.view(shape)) * scales.view(shape)).float()


def _conv2d(call: Fused) -> Kernel | None:
    assert call.weight is not None
    geometry = [list(call.attribute(name)) for name in ("stride", "padding", "dilation")]
    packed = torch.ops.quantized.conv2d_prepack(call.weight, call.tensor(2), *geometry, call.attribute("groups"))
    function = torch.ops.quantized.conv2d_relu.new if call.relu else torch.ops.quantized.conv2d.new
    return _scaled(function, call, packed)


def _conv_transpose2d(call: Fused) -> Kernel | None:
    if call.relu:
        return None
    stride, padding, more, dilation = (list(call.attribute(name)) for name in ("stride", "padding", "output_padding", "dilation"))
    packed = torch.ops.quantized.conv_transpose2d_prepack(
        call.weight, call.tensor(2), stride, padding, more, dilation, call.attribute("groups"),
    )
    return _scaled(torch.ops.quantized.conv_transpose2d, call, packed)


def _linear(call: Fused) -> Kernel | None:
    # Its kernel takes no row without a batch.
    if len(call.node.type.shape) < 2:
        return None
    packed = torch.ops.quantized.linear_prepack(call.weight, call.tensor(2))
    return _scaled(torch.ops.quantized.linear_relu if call.relu else torch.ops.quantized.linear, call, packed)


def _scaled(function: Callable[..., Tensor], call: Fused, *more: Any) -> Kernel:
    scale, zero_point = call.scale, call.zero_point
    return lambda x: function(x, *more, scale, zero_point)


def _arithmetic(name: str) -> Callable[[Fused], Kernel | None]:
    def build(call: Fused) -> Kernel | None:
        numbers = [given for given in call.node.inputs if not isinstance(given, str)]
        function = getattr(torch.ops.quantized, f"{name}_relu" if call.relu else name)
        scale, zero_point = call.scale, call.zero_point
        if not numbers:
            return lambda x, y: function(x, y, scale, zero_point)
        plain = getattr(torch.ops.quantized, f"{name}_scalar{'_relu' if call.relu else ''}", None)
        if plain is None or not isinstance(call.node.inputs[0], str):
            return None
        # Its scale follows from the number, and must be the one that the program says.
        probe = plain(torch.quantize_per_tensor(torch.zeros(1), *call.sources[0], torch.quint8), numbers[0])
        if (probe.q_scale(), probe.q_zero_point()) != (scale, zero_point):
            return None
        return lambda x: plain(x, numbers[0])
    return build


def _matmul(call: Fused) -> Kernel | None:
    scale, zero_point = call.scale, call.zero_point
    if call.relu:
        return None
    return lambda x, y: torch.ops.quantized.matmul(x, y, scale, zero_point)


def _cat(call: Fused) -> Kernel | None:
    function = torch.ops.quantized.cat_relu if call.relu else torch.ops.quantized.cat
    dim, scale, zero_point = call.attribute("dim"), call.scale, call.zero_point
    return lambda *tensors: function(list(tensors), dim, scale, zero_point)


def _hardswish(call: Fused) -> Kernel | None:
    return None if call.relu else _scaled(torch.ops.quantized.hardswish, call)


def _sigmoid(call: Fused) -> Kernel | None:
    if call.relu:
        return None
    # Without a scale of its own, torch's takes 1/256.
    return torch.sigmoid if (call.scale, call.zero_point) == (1 / 256, 0) else _scaled(torch.ops.quantized.sigmoid, call)


def _leaky_relu(call: Fused) -> Kernel | None:
    return None if call.relu else _scaled(torch.ops.quantized.leaky_relu, call, call.attribute("negative_slope"), False)


def _elu(call: Fused) -> Kernel | None:
    if call.relu:
        return None
    scale, zero_point = call.scale, call.zero_point
    slopes = [call.attribute(name) for name in ("alpha", "scale", "input_scale")]
    return lambda x: torch.ops.quantized.elu(x, scale, zero_point, *slopes)


def _softmax(call: Fused) -> Kernel | None:
    return None if call.relu else _scaled(torch.ops.quantized.softmax, call, call.attribute("dim"))


def _layer_norm(call: Fused) -> Kernel | None:
    more = list(call.attribute("normalized_shape")), call.tensor(1), call.tensor(2), call.attribute("eps")
    return None if call.relu else _scaled(torch.ops.quantized.layer_norm, call, *more)


def _group_norm(call: Fused) -> Kernel | None:
    more = call.attribute("num_groups"), call.tensor(1), call.tensor(2), call.attribute("eps")
    return None if call.relu else _scaled(torch.ops.quantized.group_norm, call, *more)


def _batch_norm(call: Fused) -> Kernel | None:
    function = torch.ops.quantized.batch_norm2d_relu if call.relu else torch.ops.quantized.batch_norm2d
    # Its kernel takes planes alone, and no norm without a weight and a bias.
    if len(call.node.type.shape) != 4 or None in call.node.inputs:
        return None
    return _scaled(function, call, *(call.tensor(index) for index in range(1, 5)), call.attribute("eps"))


def _keeping(call: Fused) -> Kernel | None:
    """A kernel of torch's that takes quantized tensors as it takes floats, and keeps their scale."""
    if call.relu or not call.keeps:
        return None
    if call.node.operator == "aten.index_select":
        index, dim = call.tensor(1), call.attribute("dim")
        assert index is not None
        return lambda x: torch.index_select(x, dim, index)
    if call.node.operator == "aten.pad" and (call.attribute("mode"), call.attribute("value")) != ("constant", 0.0):
        return None
    return FLOAT_KERNELS[call.node.operator](call.node)


def _hardsigmoid(call: Fused) -> Kernel | None:
    return F.hardsigmoid if (call.scale, call.zero_point, call.relu) == (1 / 256, 0, False) else None


KEEPING = tuple(f"aten.{name}" for name in (
    "adaptive_avg_pool2d", "avg_pool2d", "flip", "max_pool2d", "mean", "pad", "permute", "relu", "select", "slice",
    "upsample_bilinear2d", "upsample_nearest2d", "view", "index_select", "clamp",
))
"""Operators whose quantized form has the scale of what it takes."""

INT8_KERNELS: dict[str, Callable[[Fused], Kernel | None]] = {
    **dict.fromkeys(KEEPING, _keeping),
    "aten.conv2d": _conv2d, "aten.conv_transpose2d": _conv_transpose2d, "aten.linear": _linear, "aten.matmul": _matmul,
    "aten.add": _arithmetic("add"), "aten.mul": _arithmetic("mul"), "aten.cat": _cat,
    "aten.hardswish": _hardswish, "aten.hardsigmoid": _hardsigmoid, "aten.sigmoid": _sigmoid, "aten.leaky_relu": _leaky_relu,
    "aten.elu": _elu, "aten.softmax": _softmax, "aten.layer_norm": _layer_norm, "aten.group_norm": _group_norm,
    "aten.batch_norm": _batch_norm,
}
"""By operator, from what is known of it to a kernel; None where torch has none for it."""
