"""Means over whole planes are taken in float: on the range of what they average they would lose most of their bits."""
from __future__ import annotations

from torch import Tensor, fx, nn
from torch.nn import functional as F

from sparkq.quantization.float_graph.trace import input_node, module_of, shape_of

__all__ = ["PlaneMeans", "keep_means_in_float"]


class PlaneMeans(nn.Module):
    """``x.mean((2, 3))`` as a module that torch's quantization does not look into."""

    def __init__(self, keepdim: bool) -> None:
        super().__init__()
        self.keepdim = keepdim

    def forward(self, x: Tensor) -> Tensor:
        """float32 [N, C, H, W] to [N, C] or [N, C, 1, 1]."""
        return x.mean((2, 3), keepdim=self.keepdim)


def keep_means_in_float(graph: fx.GraphModule) -> int:
    """Replace means over both spatial dimensions by `PlaneMeans`; shapes must be noted, and the graph computes the same.

    Returns
    -------
    int
        How many were replaced.
    """
    replaced = 0
    for node in list(graph.graph.nodes):
        pool = module_of(graph, node)
        adaptive = isinstance(pool, nn.AdaptiveAvgPool2d) or node.target is F.adaptive_avg_pool2d
        mean = node.op in ("call_method", "call_function") and getattr(node.target, "__name__", node.target) == "mean"
        source, output = shape_of(input_node(node)) if node.args else None, shape_of(node)
        if not (adaptive or mean) or source is None or output is None or len(source) != 4:
            continue
        if output not in (source[:2], (*source[:2], 1, 1)) or source[2:] == (1, 1):
            continue
        name = f"plane_means_{replaced}"
        graph.add_submodule(name, PlaneMeans(len(output) == 4))
        with graph.graph.inserting_after(node):
            new = graph.graph.call_module(name, (input_node(node),))
        new.meta = dict(node.meta)
        node.replace_all_uses_with(new)
        graph.graph.erase_node(node)
        replaced += 1
    graph.graph.lint()
    graph.recompile()
    return replaced
