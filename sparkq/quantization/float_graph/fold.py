"""BatchNorm folding: every BatchNorm that has an exact place to go becomes part of a layer.

- In eval mode a BatchNorm is ``x * scale + shift``. It goes into the convolution or linear layer before it (Jacob et al. 2018,
  "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", section 3.2), as torch's own
  converter does.
- Else (ReLU before BatchNorm) it goes into the layer behind it, where no zero padding comes in between: padding is zero after
  BatchNorm, and would not be before it.
- What is left is quantized as a layer of its own, whose output is rounded once more.
"""
from __future__ import annotations

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from sparkq.quantization.float_graph.trace import input_node, module_of, only_user
from sparkq.quantization.graph_edits import finish, pass_by

__all__ = ["fold_batch_norms"]

_Norm = nn.BatchNorm1d | nn.BatchNorm2d


def fold_batch_norms(graph: fx.GraphModule, *, behind_relu: bool = True) -> None:
    """Fold every BatchNorm that has an exact place to go; the graph computes the same.

    Parameters
    ----------
    graph : GraphModule
        Float, in eval mode; changed in place.
    behind_relu : bool
        Also into the layer behind.
    """
    for node in list(graph.graph.nodes):
        norm = module_of(graph, node)
        if isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d)) and norm.running_mean is not None and not norm.training:
            if _fold_back(graph, node, norm) or behind_relu and _fold_forward(graph, node, norm):
                pass_by(node)
    finish(graph)


def _fold_back(graph: fx.GraphModule, node: fx.Node, norm: _Norm) -> bool:
    before = input_node(node)
    layer = module_of(graph, before)
    if layer is None or only_user(before) is not node:
        return False
    if isinstance(layer, nn.Linear):
        fused: nn.Module = fuse_linear_bn_eval(layer, norm)
    elif isinstance(layer, nn.Conv2d):
        fused = fuse_conv_bn_eval(layer, norm)
    elif isinstance(layer, nn.ConvTranspose2d) and layer.groups == 1:
        fused = fuse_conv_bn_eval(layer, norm, transpose=True)
    else:
        return False
    graph.set_submodule(str(before.target), fused)
    return True


def _fold_forward(graph: fx.GraphModule, node: fx.Node, norm: _Norm) -> bool:
    after = only_user(node)
    layer = module_of(graph, after)
    if isinstance(layer, nn.Conv2d) and layer.padding in ((0, 0), "valid") and layer.groups == 1:
        dimensions: tuple[int, ...] = (2, 3)
    elif isinstance(layer, nn.Linear) and isinstance(norm, nn.BatchNorm1d):
        dimensions = ()
    else:
        return False
    scale, shift = scale_and_shift(norm)
    with torch.no_grad():
        weight = layer.weight.double()
        taps = weight.sum(dimensions) if dimensions else weight
        bias = taps @ shift + (0 if layer.bias is None else layer.bias.double())
        layer.weight.copy_(weight * scale.view(1, -1, *[1] * len(dimensions)))
        layer.bias = nn.Parameter(bias.to(layer.weight.dtype))
    return True


def scale_and_shift(norm: _Norm) -> tuple[torch.Tensor, torch.Tensor]:
    """A BatchNorm in eval mode as ``x * scale + shift``, float64 [C] each."""
    assert norm.running_mean is not None and norm.running_var is not None
    with torch.no_grad():
        scale = (norm.running_var.double() + norm.eps).rsqrt()
        if norm.weight is not None:
            scale = scale * norm.weight.double()
        shift = -norm.running_mean.double() * scale
        return scale, shift if norm.bias is None else shift + norm.bias.double()
