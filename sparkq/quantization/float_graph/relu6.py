"""ReLU6, Hardtanh and clamp from zero as what they are for INT8: the output range of the layer before them.

torch's FX flow fuses ReLU into a convolution, but not ReLU6: it observes the convolution before the clamp, and the wide
range ruins 8 bits. A quint8 output with zero point 0 whose scale ends at the bound saturates exactly like the clamp.
"""
from __future__ import annotations

import math
import operator
from collections.abc import Collection

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from sparkq.quantization.float_graph.trace import input_node, module_of, only_user

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


def raise_bounded_relus(graph: fx.GraphModule) -> int:
    """Replace clamps from zero behind a convolution or linear layer by `BoundedReLU`; the graph computes the same.

    Returns
    -------
    int
        How many were replaced.
    """
    replaced = 0
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
        name = f"bounded_relu_{replaced}"
        graph.add_submodule(name, BoundedReLU(torch.tensor([upper])))
        with graph.graph.inserting_after(node):
            new = graph.graph.call_module(name, (before,))
        new.meta = dict(node.meta)
        node.replace_all_uses_with(new)
        graph.graph.erase_node(node)
        replaced += 1
    graph.graph.lint()
    graph.recompile()
    graph.delete_all_unused_submodules()
    return replaced


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
            bounds[str(input_node(node).target)] = float(module.upper.min())
            with graph.graph.inserting_after(node):
                before, upper = input_node(node), float(module.upper.min())
                new = (
                    graph.graph.call_function(F.relu, (before,)) if saturating
                    else graph.graph.call_function(F.hardtanh, (before, 0.0, upper))
                )
            new.meta = dict(node.meta)
            node.replace_all_uses_with(new)
            graph.graph.erase_node(node)
    graph.graph.lint()
    graph.recompile()
    graph.delete_all_unused_submodules()
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
