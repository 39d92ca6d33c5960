"""Multiply-accumulates: how many a layer costs, and which share of a model's is computed in INT8."""
from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import fx, nn

from sparkq.config import PreprocessConfig
from sparkq.quantization.calibration.image_set import CalibrationSet
from sparkq.quantization.float_graph.trace import input_node, shape_of, trace_float
from sparkq.quantization.normalization import normalize

__all__ = ["LAYER_KINDS", "float_layers", "int8_macs_percent", "int8_share", "layer_macs"]

LAYER_KINDS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.Linear)
"""Layers that multiply and accumulate."""


def layer_macs(graph: fx.GraphModule) -> dict[str, int]:
    """Multiply-accumulates an image of every convolution and linear layer, by module name.

    Parameters
    ----------
    graph : GraphModule
        Float, with noted shapes; before kernels are extended with zeros, which would count.
    """
    macs: dict[str, int] = {}
    for node in graph.graph.nodes:
        layer = graph.get_submodule(str(node.target)) if node.op == "call_module" else None
        shape = shape_of(node)
        if shape is None or not isinstance(layer, LAYER_KINDS):
            continue
        if isinstance(layer, nn.ConvTranspose2d):
            # Each input pixel is multiplied with the whole kernel.
            shape = shape_of(input_node(node)) or shape
        outputs = 1
        for size in shape[1:]:
            outputs *= size
        # weight is [O, K...]: each output costs K; the transposed one's is [I, K...], each input costs K.
        macs[str(node.target)] = macs.get(str(node.target), 0) + outputs * (layer.weight.numel() // layer.weight.shape[0])
    return macs


def int8_share(macs: Mapping[str, int], float_layers: Iterable[str]) -> float:
    """Share (0 to 1) of `macs` outside `float_layers`."""
    total = sum(macs.values())
    in_float = sum(macs.get(name, 0) for name in set(float_layers))
    return 1 - in_float / total if total else 0.0


def float_layers(model: nn.Module) -> tuple[str, ...]:
    """Names of the convolutions and linear layers that a converted model still computes in float."""
    return tuple(name for name, module in model.named_modules() if isinstance(module, LAYER_KINDS))


def int8_macs_percent(
    model: nn.Module, converted: nn.Module, calibration: CalibrationSet, preprocess: PreprocessConfig,
) -> float:
    """Share (0 to 100) of the multiply-accumulates of a float `model` that `converted` computes in INT8."""
    graph = trace_float(model, normalize(torch.from_numpy(calibration.images[:1]), preprocess))
    return 100 * int8_share(layer_macs(graph), float_layers(converted))
