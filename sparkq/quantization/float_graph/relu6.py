"""Clamp ranges: ReLU6, Hardtanh and clamp from zero as what they are for INT8, the output range of the layer before them.

- torch's FX flow fuses ReLU into a convolution, but not ReLU6: it observes the convolution before the clamp, and the wide range
  ruins 8 bits.
- A quint8 output with zero point 0 whose scale ends at the bound saturates exactly like the clamp (Jacob et al. 2018, section
  2.4), so the clamp becomes a ReLU, which is fused, and the bound becomes the observer's.
- Until then it is a `BoundedReLU`, through which equalization can scale channels.
"""
from __future__ import annotations

import math
import operator
from collections.abc import Collection

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from sparkq.quantization.float_graph.trace import input_node, module_of, only_user
from sparkq.quantization.graph_edits import call_instead, finish, module_instead

__all__ = ["BoundedReLU", "lower_bounded_relus", "raise_bounded_relus"]

# Their inputs and output share one range in torch's flow: a bound of one input would be lost among the others'.
_SHARING = (torch.cat, torch.concat, torch.stack, operator.getitem)


class BoundedReLU(nn.Module):
    """``min(max(x, 0), upper)`` with one bound a channel: equalization scales the channels of a ReLU6 apart.

    Parameters
    ----------
    upper : Tensor
        float32 [C], or [1] for one bound.
    """

    upper: Tensor

    def __init__(self, upper: Tensor) -> None:
        super().__init__()
        self.register_buffer("upper", upper)

    def forward(self, x: Tensor) -> Tensor:
        """Clamp [N, C, ...]."""
        return torch.minimum(F.relu(x), self.upper.view(1, -1, *[1] * (x.ndim - 2)))


def raise_bounded_relus(graph: fx.GraphModule) -> None:
    """Replace clamps from zero behind a convolution or linear layer by `BoundedReLU`; the graph computes the same."""
    nodes: list[fx.Node] = list(graph.graph.nodes)
    for node in nodes:
        upper = _bound(graph, node)
        if upper is None:
            continue
        before = input_node(node)
        layer = module_of(graph, before)
        if not isinstance(layer, (nn.Conv2d, nn.Linear)) or only_user(before) is not node:
            continue
        if any(user.target in _SHARING for user in node.users):
            continue
        module_instead(graph, node, "bounded_relu", BoundedReLU(torch.tensor([upper])), (before,))
    finish(graph)


def lower_bounded_relus(
    graph: fx.GraphModule, kept: Collection[str] = (), *, saturating: bool = True,
) -> dict[str, float]:
    """Replace each `BoundedReLU` by a plain ReLU, which torch fuses, but for those behind the layers `kept` in float.

    Parameters
    ----------
    graph : GraphModule
        With bounded ReLUs.
    kept : collection of str
        Layers.
    saturating : bool
        Whether outputs use all 8 bits and so end at the bound by themselves; a clamp of integers follows where not.

    Returns
    -------
    dict of str to float
        By the name of the layer before it: where its quantized output has to end. With bounds that differ by channel it
        is the least of them, and equalization saw to it that no channel needs more.
    """
    bounds = {}
    for node in list(graph.graph.nodes):
        module = module_of(graph, node)
        if isinstance(module, BoundedReLU) and str(input_node(node).target) not in kept:
            before, upper = input_node(node), float(module.upper.min())
            bounds[str(before.target)] = upper
            if saturating:
                call_instead(graph, node, F.relu, (before,))
            else:
                call_instead(graph, node, F.hardtanh, (before, 0.0, upper))
    finish(graph)
    return bounds


def _bound(graph: fx.GraphModule, node: fx.Node) -> float | None:
    """The upper bound of a node that clamps from zero."""
    module = module_of(graph, node)
    if isinstance(module, nn.Hardtanh):  # ReLU6 is one
        low, high = float(module.min_val), float(module.max_val)
    elif node.op == "call_function" and node.target is F.relu6:
        low, high = 0.0, 6.0
    elif node.op == "call_function" and node.target in (F.hardtanh, torch.clamp) or (
        node.op == "call_method" and node.target == "clamp"
    ):
        low, high = _clamp_arguments(node)
    else:
        return None
    return high if low == 0 and 0 < high < math.inf else None


def _clamp_arguments(node: fx.Node) -> tuple[float, float]:
    defaults = (-1.0, 1.0) if node.target is F.hardtanh else (-math.inf, math.inf)
    values = list(node.args[1:3])
    low = values[0] if values else node.kwargs.get("min", node.kwargs.get("min_val", defaults[0]))
    high = values[1] if len(values) > 1 else node.kwargs.get("max", node.kwargs.get("max_val", defaults[1]))
    if not isinstance(low, (int, float)) or not isinstance(high, (int, float)):
        return -math.inf, math.inf
    return float(low), float(high)
