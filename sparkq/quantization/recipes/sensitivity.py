"""Sensitivity: the signal-to-noise ratio of the model's output with only one layer in INT8, for each layer."""
from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, fx, nn

from sparkq.config import QuantizationConfig
from sparkq.metrics.sqnr import sqnr_of
from sparkq.quantization.float_graph.trace import input_node
from sparkq.quantization.scales.activation_ranges import quantization_parameters
from sparkq.quantization.scales.depthwise import is_depthwise
from sparkq.quantization.scales.torch_observers import ActivationObserver, pair_scales, weight_scales
from sparkq.quantization.steps import counted

__all__ = ["layer_sensitivity"]


def layer_sensitivity(graph: fx.GraphModule, batch: Tensor, config: QuantizationConfig) -> dict[str, float]:
    """Measure every convolution and linear layer of a float graph in turn.

    The float values before a layer are computed once; only what lies behind it is computed again with its weights and
    inputs rounded.

    Parameters
    ----------
    graph : GraphModule
        Float.
    batch : Tensor
        Normalized calibration images, held in memory with all their activations.
    config : QuantizationConfig
        Observer (``auto`` counts as ``histogram``) and target.

    Returns
    -------
    dict of str to float
        SQNR of the output in dB by layer name, the most sensitive layer first.
    """
    with torch.no_grad():
        values = _values(graph, batch)
        output = next(node for node in graph.graph.nodes if node.op == "output")
        expected = values[output].numpy()
        found = {}
        for node in counted("measuring the noise of layers", list(graph.graph.nodes)):
            layer = graph.get_submodule(str(node.target)) if node.op == "call_module" else None
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                changed = _changed(graph, node, layer, values, config)
                got = fx.Interpreter(graph).run(batch, initial_env=changed)
                found[str(node.target)] = sqnr_of(expected, got.numpy())
    return dict(sorted(found.items(), key=lambda item: item[1]))


class _Recorder(fx.Interpreter):
    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph, garbage_collect_values=False)


def _values(graph: fx.GraphModule, batch: Tensor) -> dict[fx.Node, Any]:
    recorder = _Recorder(graph)
    result = recorder.run(batch)
    output = next(node for node in graph.graph.nodes if node.op == "output")
    return {**recorder.env, output: result}


def _changed(
    graph: fx.GraphModule, node: fx.Node, layer: nn.Conv2d | nn.Linear, values: dict[fx.Node, Any], config: QuantizationConfig,
) -> dict[fx.Node, Any]:
    """The values that do not depend on `node`, and its own with weights and input rounded."""
    behind = {node}
    for later in graph.graph.nodes:
        if behind.intersection(later.all_input_nodes):
            behind.add(later)
    source = input_node(node)
    assert isinstance(source, fx.Node)
    kept = {other: value for other, value in values.items() if other not in behind and other.op != "output"}
    rounded = copy.deepcopy(layer)
    rounded.weight.copy_(_rounded_weight(layer.weight.detach(), config))
    return {**kept, node: rounded(_rounded_input(values[source], config))}


def _rounded_weight(weight: Tensor, config: QuantizationConfig) -> Tensor:
    rows = weight.flatten(1)
    limited = config.target == "vnni" and config.limit_depthwise_weights and is_depthwise(weight)
    scales = pair_scales(rows) if limited else weight_scales(rows)
    return ((rows / scales[:, None]).round().clamp(-128, 127) * scales[:, None]).view_as(weight)


def _rounded_input(x: Tensor, config: QuantizationConfig) -> Tensor:
    levels = config.activation_levels
    observer = ActivationObserver("histogram" if config.observer == "auto" else config.observer, levels)
    observer(x)
    scale, zero_point = quantization_parameters(*observer.range(), levels)
    return torch.fake_quantize_per_tensor_affine(x, scale, zero_point, 0, levels - 1)
