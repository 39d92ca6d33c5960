"""Float means: averages over whole planes are taken in float, on what INT8 layers gave.

- torch's quantized average pool rounds its result to the range of what it averages. A mean varies far less than that, so most of
  its 8 bits would be lost, right before the last layer.
- Here the plane is dequantized, averaged in float32 and quantized anew with a range of its own, or goes into a classifier that
  takes floats. The operation is one in a thousand of a network's.
"""
from __future__ import annotations

from torch import Tensor, fx, nn
from torch.nn import functional as F

from sparkq.quantization.float_graph.trace import input_node, module_of, shape_of
from sparkq.quantization.graph_edits import finish, module_instead

__all__ = ["PlaneMeans", "keep_means_in_float"]


class PlaneMeans(nn.Module):
    """``x.mean((2, 3))`` as a module that torch's quantization does not look into."""

    def __init__(self, keepdim: bool) -> None:
        super().__init__()
        self.keepdim = keepdim

    def forward(self, x: Tensor) -> Tensor:
        """float32 [N, C, H, W] to [N, C] or [N, C, 1, 1]."""
        return x.mean((2, 3), keepdim=self.keepdim)


def keep_means_in_float(graph: fx.GraphModule) -> None:
    """Replace means over both spatial dimensions by `PlaneMeans`; shapes must be noted, and the graph computes the same."""
    for node in list(graph.graph.nodes):
        pool = module_of(graph, node)
        adaptive = isinstance(pool, nn.AdaptiveAvgPool2d) or node.target is F.adaptive_avg_pool2d
        mean = node.op in ("call_method", "call_function") and getattr(node.target, "__name__", node.target) == "mean"
        source, output = shape_of(input_node(node)) if node.args else None, shape_of(node)
        if not (adaptive or mean) or source is None or output is None or len(source) != 4:
            continue
        if output not in (source[:2], (*source[:2], 1, 1)) or source[2:] == (1, 1):
            continue
        module_instead(graph, node, "plane_means", PlaneMeans(len(output) == 4), (input_node(node),))
    finish(graph)
