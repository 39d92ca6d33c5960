"""The limits of fbgemm's depthwise kernels, and how layers are kept within them.

They add products in pairs in 16 bits on every CPU, with VNNI too: ``255 * (a + b)`` for the weights a, b of a pair
saturates beyond 32767, so that INT8 weights at full range are wrong by up to a fifth of the output's range (measured on
Zen 4 with torch 2.13 for 3 x 3, 5 x 5 and 7 x 7; fbgemm's dense and grouped kernels and oneDNN's are exact). With 8-bit
activations, no two weights of a channel may sum to more than 128 in absolute value.
"""
from __future__ import annotations

import torch
from torch import Tensor, fx, nn

__all__ = ["LARGEST_PAIR", "is_depthwise", "largest_pairs", "slow_layers"]

LARGEST_PAIR = 128
"""The most that two integer weights of one sign may sum to: 255 * 128 < 2**15."""
_FAST_KERNELS = (3, 5, 7, 9, 11)


def is_depthwise(weight: Tensor) -> bool:
    """Whether a convolution's weight [O, I / groups, h, w] has a single input channel for each output channel."""
    return weight.ndim == 4 and weight.shape[1] == 1 and weight[0].numel() > 1


def largest_pairs(rows: Tensor) -> Tensor:
    """Largest absolute sum of two weights of one sign in each row [O, K]; [O]."""
    positive, negative = (side.clamp_min(0).topk(min(2, rows.shape[1]), 1).values.sum(1) for side in (rows, -rows))
    return torch.maximum(positive, negative)


def slow_layers(graph: fx.GraphModule) -> tuple[str, ...]:
    """Depthwise convolutions of a float graph for which fbgemm has only a reference kernel, 10 to 100 times slower than float.

    The fast one (fbgemm, ``takeDepthWiseFastPath``) wants whole eights of channels, a square odd kernel with padding
    that keeps the size, stride 1 or 2 and no dilation.
    """
    names = []
    for name, layer in graph.named_modules():
        if not isinstance(layer, nn.Conv2d) or layer.groups == 1 or layer.groups != layer.in_channels:
            continue
        kernel = layer.kernel_size[0]
        fast = (
            layer.out_channels in (layer.in_channels, 2 * layer.in_channels) and layer.groups % 8 == 0
            and layer.kernel_size == (kernel, kernel) and kernel in _FAST_KERNELS
            and layer.padding == (kernel // 2, kernel // 2) and layer.stride in ((1, 1), (2, 2)) and layer.dilation == (1, 1)
        )
        if not fast:
            names.append(name)
    return tuple(names)
