"""Cross-layer equalization and high-bias absorption on the float graph, through ReLU and ReLU6.

- Equalization scales channels between two layers, up in one and down in the other (Nagel et al. 2019, "Data-Free Quantization
  Through Weight Equalization and Bias Correction", section 4.1). Where that paper balances two layers' weights under one scale a
  tensor, here every output channel has a scale of its own, so that the first layer's weights do not care: what is balanced is
  the activation between (one scale a tensor) against the next layer's input channels, as in Xiao et al. 2023, "SmoothQuant",
  equation 4. It gains where one channel is far larger than the others, as in depthwise networks.
- Absorption moves what a channel never falls below into the next layers' biases (section 4.1.3 there), which narrows the
  activation's range. It is off by default: it counts on images like those that were observed.
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from sparkq.quantization.calibration.observed_model import ChannelExtremesOf, Observe
from sparkq.quantization.float_graph.pooling import PlaneMeans
from sparkq.quantization.float_graph.relu6 import BoundedReLU
from sparkq.quantization.float_graph.trace import module_of

__all__ = ["absorb_high_biases", "equalize", "pairs"]

_LARGEST_FACTOR = 64.0
# Operations through which a positive factor a channel passes unchanged.
_SCALABLE_MODULES = (
    nn.ReLU, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Identity, nn.Dropout, BoundedReLU, PlaneMeans,
)
_SCALABLE_FUNCTIONS = (F.relu, torch.relu, F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d, F.dropout)
_Layer = nn.Conv2d | nn.Linear


@dataclass(frozen=True)
class Pair:
    """A layer, the nodes up to those that read it all, and these.

    Parameters
    ----------
    first : Conv2d or Linear
        Whose output channels are scaled.
    between : tuple of Node
        Element-wise operations and pools; the last one's output is the activation that is quantized.
    second : tuple of Conv2d or Linear
        Every reader of that activation.
    """

    first: _Layer
    between: tuple[fx.Node, ...]
    second: tuple[_Layer, ...]


def pairs(graph: fx.GraphModule) -> Iterator[Pair]:
    """Layers with nothing between them and their readers that a factor a channel would not pass."""
    for node in graph.graph.nodes:
        first = module_of(graph, node)
        if not isinstance(first, (nn.Conv2d, nn.Linear)):
            continue
        last, between = node, []
        while len(last.users) == 1 and _scalable(graph, next(iter(last.users))):
            last = next(iter(last.users))
            between.append(last)
        second = [module_of(graph, user) for user in last.users]
        layers = tuple(layer for layer in second if isinstance(layer, (nn.Conv2d, nn.Linear)) and _reads(first, layer))
        if between and second and len(layers) == len(second):
            yield Pair(first, tuple(between), layers)


def _scalable(graph: fx.GraphModule, node: fx.Node) -> bool:
    module = module_of(graph, node)
    return isinstance(module, _SCALABLE_MODULES) or node.op == "call_function" and node.target in _SCALABLE_FUNCTIONS


def _reads(first: _Layer, second: _Layer) -> bool:
    channels = second.in_channels if isinstance(second, nn.Conv2d) else second.in_features
    return channels == first.weight.shape[0]


def equalize(graph: fx.GraphModule, observe: Observe) -> None:
    """Scale channels between layers; the graph computes the same on images like those that `observe` sees."""
    found = list(pairs(graph))
    extremes = _extremes(graph, [pair.between[-1] for pair in found], observe)
    for pair, (_, highest) in zip(found, extremes, strict=True):
        _scale(pair, _factors(graph, pair, highest), graph)


def _factors(graph: fx.GraphModule, pair: Pair, highest: Tensor) -> Tensor:
    """sqrt(weight range / activation range) a channel, held where a clamp lets it be."""
    weights = torch.stack([_input_ranges(layer) for layer in pair.second]).amax(0)
    live = (highest > 1e-6) & (weights > 1e-12)
    raw = torch.where(live, (weights / highest.clamp_min(1e-6)).sqrt(), torch.ones_like(highest))
    # The channel with the largest activation keeps its scale, and with it the tensor's range.
    factors = raw / raw[highest.argmax()].clamp_min(1e-12)
    factors = torch.where(live, factors, torch.ones_like(factors)).clamp(1 / _LARGEST_FACTOR, _LARGEST_FACTOR)
    if any(isinstance(module_of(graph, node), BoundedReLU) for node in pair.between):
        # The quantized tensor ends where the least bound does: no channel may sink below it, and none may rise so far
        # that what it was seen to reach is cut off.
        largest = highest.max().clamp_min(1e-6)
        factors = torch.minimum(factors.clamp_min(1), (largest / highest.clamp_min(1e-6)).clamp(1, _LARGEST_FACTOR))
    return factors


def _input_ranges(layer: _Layer) -> Tensor:
    """For each input channel, its largest weight relative to the scale of the output channel that it goes into."""
    weight = layer.weight.detach()
    relative = weight.abs() / weight.abs().flatten(1).amax(1).clamp_min(1e-12).view(-1, *[1] * (weight.ndim - 1))
    groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
    grouped = relative.view(groups, -1, *weight.shape[1:])
    return grouped.amax(dim=(1, *range(3, grouped.ndim))).flatten()


def _scale(pair: Pair, factors: Tensor, graph: fx.GraphModule) -> None:
    with torch.no_grad():
        pair.first.weight.mul_(factors.view(-1, *[1] * (pair.first.weight.ndim - 1)))
        if pair.first.bias is not None:
            pair.first.bias.mul_(factors)
        for layer in pair.second:
            groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
            grouped = layer.weight.view(groups, -1, *layer.weight.shape[1:])
            grouped.div_(factors.view(groups, 1, -1, *[1] * (layer.weight.ndim - 2)))
        for node in pair.between:
            module = module_of(graph, node)
            if isinstance(module, BoundedReLU):
                module.upper = module.upper * factors


def absorb_high_biases(graph: fx.GraphModule, observe: Observe) -> None:
    """Move what a channel never falls below into the next layers' biases; the graph computes the same on observed images.

    Only where no padding comes in between, and not below a ReLU6, whose upper bound would move.
    """
    found = [pair for pair in pairs(graph) if _absorbs(graph, pair)]
    extremes = _extremes(graph, [pair.between[-1] for pair in found], observe)
    for pair, (lowest, _) in zip(found, extremes, strict=True):
        offset = lowest.clamp_min(0)
        if float(offset.max()) > 0 and pair.first.bias is not None:
            with torch.no_grad():
                pair.first.bias.sub_(offset)
                for layer in pair.second:
                    taps = layer.weight.flatten(2).sum(2) if isinstance(layer, nn.Conv2d) else layer.weight
                    shift = taps @ offset
                    layer.bias = nn.Parameter(shift if layer.bias is None else layer.bias + shift)


def _absorbs(graph: fx.GraphModule, pair: Pair) -> bool:
    modules = [module_of(graph, node) for node in pair.between]
    relus = [node for node, module in zip(pair.between, modules, strict=True)
             if isinstance(module, nn.ReLU) or node.target in (F.relu, torch.relu)]
    return len(relus) == len(pair.between) and all(
        isinstance(layer, nn.Linear) or layer.groups == 1 and layer.padding in ((0, 0), "valid") for layer in pair.second
    )


def _extremes(graph: fx.GraphModule, nodes: Sequence[fx.Node], observe: Observe) -> list[tuple[Tensor, Tensor]]:
    """Lowest and highest value a channel of each node, float32 [C] each."""
    found = observe(graph, nodes, ChannelExtremesOf).extremes
    return [(torch.from_numpy(extreme.lowest), torch.from_numpy(extreme.highest)) for extreme in found]
