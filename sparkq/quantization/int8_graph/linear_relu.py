"""Implied ReLUs: a quantized linear layer with a ReLU becomes a plain one, where zero is the lowest level.

- With zero point 0, rounding to unsigned levels saturates at zero: it is the ReLU, to the bit.
- OpenVINO knows ``quantized::linear`` but no ``quantized::linear_relu``, which VGG is full of.
"""
from __future__ import annotations

from torch import fx
from torch.ao.nn import quantized as nnq
from torch.ao.nn.intrinsic import quantized as nniq

__all__ = ["drop_implied_relus"]


def drop_implied_relus(graph: fx.GraphModule) -> None:
    """Replace fused linear layers whose zero point is 0, in place; the outputs stay equal to the bit."""
    for name, layer in list(graph.named_modules()):
        if isinstance(layer, nniq.LinearReLU) and layer.zero_point == 0:
            plain = nnq.Linear(layer.in_features, layer.out_features)  # type: ignore[no-untyped-call]
            plain.set_weight_bias(*layer._weight_bias())  # type: ignore[no-untyped-call]
            plain.scale, plain.zero_point = layer.scale, layer.zero_point
            graph.set_submodule(name, plain)
