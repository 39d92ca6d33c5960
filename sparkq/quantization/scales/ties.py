"""Scales and biases with which no value lies in the middle between two steps, where engines round differently.

Integer sums are exact in every engine, but each scales them to 8 bits in float32 in an order of its own, and adds the zero
point before or after rounding. Where a scaled sum lies within their error of the middle, one rounds up and another down. That is
one value in a million, but a network multiplies it: each of MobileNetV1's layers hands a step on to the next, until the outputs
of two right engines are 31 dB apart. So what a sum can be is chosen:

- weights: ``input scale * weight scale / output scale`` is a multiple of 2**-12 in each channel, and the bias an odd
  multiple of 2**-13 of the output's step, so that no sum comes nearer to a middle than 2**-13 of a step, or 1.2e-4. The
  farthest from a middle that an engine was seen to round wrongly, with constants below 256 steps: fbgemm 5.2e-5, x86 6.6e-5,
  onednn 6.9e-5, OpenVINO 7.2e-5 (on an Intel Xeon with AMX). Where constants are larger, the grid grows with them;
- additions and changes of scale: ``input scale / output scale`` is a multiple of 1/1023, whose multiples are never a half;
- the network's input: a pixel has 256 values in each channel, and the scale keeps all of them away from the middle. (With
  pixels from -1 to 1, a scale of 2/255 puts every single one onto it.)
"""
from __future__ import annotations

import operator

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.ao.nn import quantized as nnq
from torch.nn import functional as F

__all__ = ["off_tie_biases", "scale_grid", "settle_scales", "snap"]

_GRID = 2.0**-12
_DENOMINATOR = 1023
# A constant larger than the range costs digits of float32: the grid grows with it.
_LEVELS = 256
_INPUT_MARGIN = 2.0**-12
_INPUT_SCALES = 1 + torch.arange(33, dtype=torch.float64) / 4096
_ADDITIONS = (torch.ops.quantized.add, torch.ops.quantized.add_relu)
# What hands single values on, whatever their scale.
_MOVES = (
    "dequantize", "contiguous", "flatten", "view", "reshape", "permute", "transpose", "squeeze", "unsqueeze", operator.getitem,
    torch.flatten, torch.relu, F.relu, F.pad, F.max_pool2d, torch.max_pool2d, F.dropout,
)
_MOVE_MODULES = (nn.MaxPool2d, nn.Identity, nn.Dropout, nn.Flatten, nn.ReLU)


def scale_grid(input_scale: float, output_scale: float, constants: Tensor) -> Tensor:
    """Compute the number of which each weight scale of a layer is a multiple.

    Parameters
    ----------
    input_scale, output_scale : float
        Of the layer's activations.
    constants : Tensor
        How much is added to a channel's sum of products of unsigned integers at most, in units of the output, [O]: its bias and
        the input's zero point times the sum of its weights. Engines add both as one float32.

    Returns
    -------
    Tensor
        float64 [O].
    """
    reach = (constants.double().abs() / output_scale / _LEVELS).clamp_min(1).log2().ceil().exp2()
    # Multiples of a half step and biases between them still miss the middle; of a whole step, they would hit it.
    return output_scale / input_scale * (_GRID * reach).clamp_max(0.5)


def snap(scales: Tensor, grid: Tensor | None, *, up: bool = False) -> Tensor:
    """The nearest multiple of `grid` (not zero) to each scale, or the next larger one; `scales` where there is no grid."""
    if grid is None:
        return scales
    steps = scales / grid
    return ((steps - 1e-6).ceil() if up else steps.round()).clamp_min(1) * grid


def off_tie_biases(bias: Tensor, grid: Tensor, input_scale: float) -> Tensor:
    """The nearest biases that no sum of multiples of ``grid * input_scale`` can bring onto a tie; float32 [O]."""
    step = grid * input_scale
    return (((bias.double() / step).floor() + 0.5) * step).float()


def settle_scales(quantized: fx.GraphModule, pixels: Tensor) -> None:
    """Change the activations' scales in place, by less than a hundredth; weights are to be fitted to them afterwards.

    Parameters
    ----------
    quantized : GraphModule
        From torch's convert_fx.
    pixels : Tensor
        All values that its input can take, float32.
    """
    settled: set[tuple[int, str]] = set()
    # From the output to the input: a scale is settled before those that are ratios of it.
    for node in reversed(quantized.graph.nodes):
        if node.target is not torch.quantize_per_tensor and node.target not in _ADDITIONS:
            continue
        if node.args[0].op == "placeholder":
            _settle_input(quantized, node, pixels)
            continue
        result = _Scale.of(quantized, node)
        for argument in node.args[:2] if node.target in _ADDITIONS else node.args[:1]:
            source = _origin(quantized, argument)
            scale = None if source is None or _is_shared(quantized, source) else _Scale.of(quantized, source)
            if result is None or scale is None or scale.key in settled:
                continue
            steps = max(1, round(scale.value / result.value * _DENOMINATOR))
            scale.value = result.value * steps / _DENOMINATOR
            settled.add(scale.key)


class _Scale:
    """The place where a converted graph keeps the scale of a node's output."""

    def __init__(self, module: nn.Module, name: str) -> None:
        self._module, self._name = module, name
        self.key = id(module), name

    @classmethod
    def of(cls, graph: fx.GraphModule, node: fx.Node) -> _Scale | None:
        if node.op == "call_module":
            module = graph.get_submodule(str(node.target))
            return cls(module, "scale") if isinstance(module, (nnq.Conv2d, nnq.Linear)) else None
        place = 1 if node.target is torch.quantize_per_tensor else 2 if node.target in _ADDITIONS else None
        argument = None if place is None else node.args[place]
        return cls(graph, str(argument.target)) if isinstance(argument, fx.Node) and argument.op == "get_attr" else None

    @property
    def value(self) -> float:
        return float(getattr(self._module, self._name))

    @value.setter
    def value(self, scale: float) -> None:
        # Engines compute with float32: so that all see one number.
        narrow = float(np.float32(scale))
        held = getattr(self._module, self._name)
        setattr(self._module, self._name, torch.full_like(held, narrow) if isinstance(held, Tensor) else narrow)


def _origin(graph: fx.GraphModule, node: object) -> fx.Node | None:
    """Find the node that computed the integers which `node` hands on, if it only hands them on."""
    while isinstance(node, fx.Node) and _moves(graph, node):
        node = node.args[0]
    return node if isinstance(node, fx.Node) else None


def _moves(graph: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return isinstance(graph.get_submodule(str(node.target)), _MOVE_MODULES)
    return node.target in _MOVES


def _is_shared(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Whether its scale must stay that of others, because they are concatenated."""
    waiting = list(node.users)
    while waiting:
        user = waiting.pop()
        if user.target in (torch.cat, torch.stack):
            return True
        if _moves(graph, user) and user.target != "dequantize":
            waiting += user.users
    return False


def _settle_input(graph: fx.GraphModule, node: fx.Node, pixels: Tensor) -> None:
    """The scale with the least error of all that keep every pixel's value away from the middle."""
    scale = _Scale.of(graph, node)
    if scale is None:
        return
    candidates = (scale.value * _INPUT_SCALES).float().double()
    steps = pixels.double().flatten() / candidates[:, None]
    errors = (steps - steps.round()).abs()
    noise = torch.where(errors.amax(1) < 0.5 - _INPUT_MARGIN, errors.square().mean(1) * candidates.square(), torch.inf)
    scale.value = float(candidates[noise.argmin()])
