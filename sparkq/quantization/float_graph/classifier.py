"""Last convolutions: a 1 x 1 convolution that ends the graph on one pixel is a linear layer, and gets that layer's float output.

- SqueezeNet and fully convolutional classifiers end so. The rewrite is exact.
- What it gains is `sparkq.quantization.int8_graph.float_output`, which knows linear layers alone: logits that do not tie.
"""
from __future__ import annotations

import torch
from torch import fx, nn

from sparkq.quantization.float_graph.trace import input_node, module_of, shape_of
from sparkq.quantization.graph_edits import finish

__all__ = ["last_convolution_to_linear"]


def last_convolution_to_linear(graph: fx.GraphModule) -> None:
    """Rewrite convolutions on one pixel whose result only changes shape before it leaves the graph; it computes the same.

    Shapes must be noted.
    """
    for node in list(graph.graph.nodes):
        conv = module_of(graph, node)
        if not isinstance(conv, nn.Conv2d) or conv.kernel_size != (1, 1) or conv.groups != 1:
            continue
        source, output = shape_of(input_node(node)), shape_of(node)
        if source is None or output is None or source[2:] != (1, 1) or output[2:] != (1, 1) or not _ends_graph(node):
            continue
        linear = nn.Linear(conv.in_channels, conv.out_channels, bias=conv.bias is not None, device="meta").eval()
        linear.weight = nn.Parameter(conv.weight.detach().flatten(1).clone())
        if conv.bias is not None:
            linear.bias = nn.Parameter(conv.bias.detach().clone())
        graph.set_submodule(str(node.target), linear)
        before = input_node(node)
        with graph.graph.inserting_before(node):
            flat = graph.graph.call_function(torch.flatten, (before, 1))
        node.replace_input_with(before, flat)
        with graph.graph.inserting_after(node):
            grown = graph.graph.call_function(_as_pixel, (node,))
        node.replace_all_uses_with(grown, delete_user_cb=lambda user, new=grown: user is not new)
    finish(graph)


def _as_pixel(x: torch.Tensor) -> torch.Tensor:
    return x[:, :, None, None]


def _ends_graph(node: fx.Node) -> bool:
    """Whether nothing but changes of shape lies between `node` and the graph's output."""
    size = torch.Size(shape_of(node) or ()).numel()
    while len(node.users) == 1:
        node = next(iter(node.users))
        if node.op == "output":
            return True
        shaping = node.op == "call_module" or node.target in (
            torch.flatten, torch.squeeze, torch.reshape, "flatten", "view", "reshape", "squeeze",
        )
        if not shaping or torch.Size(shape_of(node) or ()).numel() != size:
            return False
    return False
