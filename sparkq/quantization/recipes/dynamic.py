"""Dynamic recipe: INT8 weights an output channel, activation ranges taken from each image while it runs. No calibration.

``torch.ops.quantized.conv2d_dynamic`` cannot be used: it rounds its *output* to the scale and zero point of its *input*
(measured, torch 2.13, fbgemm and oneDNN alike: outputs of -45 to 47 on inputs of -4 to 4 come out as 256 steps from -4 to
4), and it takes one range over all images of a batch. Here each image is divided by a range of its own, oneDNN's INT8
convolution gives its sums in float, and they are multiplied back: one kernel call a batch, and no image sees another.
"""
from __future__ import annotations

import operator
from dataclasses import replace

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from sparkq.config import PreprocessConfig, QuantizationConfig
from sparkq.quantization.calibration.image_set import CalibrationSet
from sparkq.quantization.float_graph.pooling import PlaneMeans
from sparkq.quantization.float_graph.prepare import float_graph
from sparkq.quantization.float_graph.relu6 import BoundedReLU
from sparkq.quantization.float_graph.trace import input_node, module_of
from sparkq.quantization.scales.depthwise import is_depthwise
from sparkq.quantization.scales.torch_observers import round_balanced, weight_scales
from sparkq.quantization.weights.codebook import Compression, project, spared_layers

__all__ = ["DynamicConv2d", "DynamicLinear", "quantize_dynamic"]

_SIGNED_ZERO = 128


def _convolve(
    x: Tensor, zero_point: int, weight: Tensor, scales: Tensor, zeros: Tensor, stride: list[int], padding: list[int],
    dilation: list[int], groups: int,
) -> Tensor:
    packed = torch.ops.onednn.qconv_prepack(weight, scales, 1.0, zero_point, stride, padding, dilation, groups, None)
    result: Tensor = torch.ops.onednn.qconv_pointwise(
        x, 1.0, zero_point, packed, scales, zeros, None, stride, padding, dilation, groups, 1.0, 0, torch.float32, "none",
        [], "",
    )
    return result


def _multiply(x: Tensor, zero_point: int, weight: Tensor, scales: Tensor, zeros: Tensor) -> Tensor:
    packed = torch.ops.onednn.qlinear_prepack(weight, None)
    result: Tensor = torch.ops.onednn.qlinear_pointwise(
        x, 1.0, zero_point, packed, scales, zeros, None, 1.0, 0, torch.float32, "none", [], "",
    )
    return result


class _DynamicLayer(nn.Module):
    """Weights, and how an image becomes unsigned integers.

    Parameters
    ----------
    layer : Conv2d or Linear
        Float.
    signed : bool
        Whether inputs may be negative: zero then lies in the middle of the integers.
    levels : int
        256, or 128 where 8-bit activations may saturate.
    compression : Compression
        Few distinct weights: the nearest ones.
    """

    weight: Tensor
    scales: Tensor
    zeros: Tensor
    bias: Tensor | None

    def __init__(self, layer: nn.Conv2d | nn.Linear, signed: bool, levels: int, compression: Compression) -> None:
        super().__init__()
        weight = layer.weight.detach()
        rows = weight.flatten(1)
        scales = weight_scales(rows)
        integers = project(rows, scales, compression) if compression else round_balanced(rows, scales)
        self.register_buffer("weight", integers.view_as(weight).to(torch.int8))
        self.register_buffer("scales", scales)
        self.register_buffer("zeros", torch.zeros(len(scales), dtype=torch.int32))
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach().clone())
        self.signed = signed
        self.zero_point = _SIGNED_ZERO * levels // 256 if signed else 0
        self.largest = levels - 1 - self.zero_point

    def integers(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """quint8 like `x` in steps of 1, and what one step is worth for each image, float32 [N, 1, ...]."""
        dimensions = tuple(range(1, x.ndim))
        extreme = x.abs().amax(dimensions, keepdim=True) if self.signed else x.amax(dimensions, keepdim=True)
        step = (extreme / self.largest).clamp_min(2.0**-60)
        # quantize_per_tensor with scale 1 rounds, clips and casts in one pass.
        return torch.quantize_per_tensor(x / step, 1.0, self.zero_point, torch.quint8), step

    def real_weight(self) -> Tensor:
        """The weights as real numbers, dequantized from what a program stores, float32."""
        zeros = torch.zeros(len(self.scales), dtype=torch.int64)
        return torch._make_per_channel_quantized_tensor(self.weight, self.scales.double(), zeros, 0).dequantize()


class DynamicConv2d(_DynamicLayer):
    """A convolution with INT8 weights whose input range is each image's own: float32 [N, C, H, W] to float32."""

    def __init__(self, layer: nn.Conv2d, signed: bool, levels: int, compression: Compression) -> None:
        super().__init__(layer, signed, levels, compression)
        self.stride, self.dilation, self.groups = list(layer.stride), list(layer.dilation), layer.groups
        self.padding = [int(pad) for pad in layer.padding]

    def forward(self, x: Tensor) -> Tensor:
        """Quantize each image, convolve, scale back."""
        integers, step = self.integers(x)
        sums = _convolve(
            integers.int_repr(), self.zero_point, self.weight, self.scales, self.zeros, self.stride, self.padding, self.dilation,
            self.groups,
        )
        return self._scaled_back(sums, step)

    def reference(self, x: Tensor) -> Tensor:
        """Run the operators that say what `forward` means, as a program has them."""
        integers, step = self.integers(x)
        sums = F.conv2d(
            integers.dequantize(), self.real_weight(), None, self.stride, self.padding, self.dilation, self.groups,
        )
        return self._scaled_back(sums, step)

    def _scaled_back(self, sums: Tensor, step: Tensor) -> Tensor:
        result = sums * step
        return result if self.bias is None else result + self.bias.view(1, -1, 1, 1)


class DynamicLinear(_DynamicLayer):
    """A linear layer with INT8 weights whose input range is each image's own: float32 [N, K] to float32 [N, C]."""

    def forward(self, x: Tensor) -> Tensor:
        """Quantize each image, multiply, scale back."""
        integers, step = self.integers(x)
        sums = _multiply(integers.int_repr(), self.zero_point, self.weight, self.scales, self.zeros)
        return self._scaled_back(sums, step)

    def reference(self, x: Tensor) -> Tensor:
        """Run the operators that say what `forward` means, as a program has them."""
        integers, step = self.integers(x)
        return self._scaled_back(F.linear(integers.dequantize(), self.real_weight()), step)

    def _scaled_back(self, sums: Tensor, step: Tensor) -> Tensor:
        result = sums * step
        return result if self.bias is None else result + self.bias


def quantize_dynamic(
    model: nn.Module, calibration: CalibrationSet, preprocess: PreprocessConfig, config: QuantizationConfig,
) -> fx.GraphModule:
    """Replace convolutions and linear layers of a float model, which is left as it was; nothing is calibrated.

    Parameters
    ----------
    model : nn.Module
        In eval mode; takes float32 [N, 3, H, W].
    calibration : CalibrationSet
        Only for the shapes.
    preprocess : PreprocessConfig
        How its input is normalized.
    config : QuantizationConfig
        Target and layers that stay in float.

    Raises
    ------
    ModelError
        If torch cannot trace it.
    """
    # Equalization measures activations; here nothing is measured.
    config = replace(config, equalization=False, high_bias_absorption=False)
    graph = float_graph(model, calibration, preprocess, config).graph
    levels = config.activation_levels
    layers = {str(node.target): module_of(graph, node) for node in graph.graph.nodes if node.op == "call_module"}
    spared = spared_layers({name: layer.weight for name, layer in layers.items() if isinstance(layer, (nn.Conv2d, nn.Linear))})
    for node in graph.graph.nodes:
        layer = module_of(graph, node)
        if layer is None or str(node.target) in config.float_layers or _stays_float(layer, config):
            continue
        signed = not _never_negative(graph, input_node(node))
        compression = Compression() if str(node.target) in spared else Compression.of(config)
        if isinstance(layer, nn.Conv2d) and layer.padding_mode == "zeros" and not isinstance(layer.padding, str):
            graph.set_submodule(str(node.target), DynamicConv2d(layer, signed, levels, compression))
        elif isinstance(layer, nn.Linear):
            graph.set_submodule(str(node.target), DynamicLinear(layer, signed, levels, compression))
    graph.recompile()
    return graph


def _stays_float(layer: nn.Module, config: QuantizationConfig) -> bool:
    # With nine products an output, finding ranges and rounding costs more than INT8 saves: 0.5 against 0.1 ms in float.
    return config.float_slow_layers and isinstance(layer, nn.Conv2d) and is_depthwise(layer.weight)


_POSITIVE_MODULES = (nn.ReLU, nn.ReLU6, BoundedReLU, nn.Sigmoid, nn.Hardsigmoid, nn.Softmax)
_POSITIVE_FUNCTIONS = (F.relu, torch.relu, F.relu6, torch.sigmoid, F.softmax, torch.softmax)
_KEEPING_MODULES = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Dropout, nn.Identity, nn.Flatten, PlaneMeans)
_KEEPING = (
    F.max_pool2d, torch.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d, F.dropout, F.pad, torch.flatten, torch.mean, torch.cat,
    torch.add, operator.add, operator.mul, operator.getitem, "flatten", "mean", "view", "reshape", "squeeze", "contiguous",
)


def _never_negative(graph: fx.GraphModule, node: object) -> bool:
    """Whether a node's values are at least zero whatever the image, because of what computed them."""
    if not isinstance(node, fx.Node) or node.op in ("placeholder", "get_attr"):
        return False
    module = graph.get_submodule(str(node.target)) if node.op == "call_module" else None
    if isinstance(module, _POSITIVE_MODULES) or node.target in _POSITIVE_FUNCTIONS:
        return True
    keeps = isinstance(module, _KEEPING_MODULES) or module is None and node.target in _KEEPING
    numbers = [argument for argument in node.args if isinstance(argument, (int, float))]
    if node.target in (operator.add, operator.mul, torch.add) and any(number < 0 for number in numbers):
        return False
    return keeps and all(_never_negative(graph, source) for source in node.all_input_nodes)
