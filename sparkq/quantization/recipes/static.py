"""Static recipe: calibrated activation ranges and per-channel weights, in torch's FX flow for the fbgemm backend."""
from __future__ import annotations

import copy
import hashlib
import math
import secrets
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.ao.quantization import QConfig, QConfigMapping, get_default_qconfig_mapping
from torch.ao.quantization.backend_config import get_fbgemm_backend_config
from torch.ao.quantization.fx.custom_config import PrepareCustomConfig
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

from sparkq.config import PreprocessConfig, QuantizationConfig
from sparkq.errors import ModelError
from sparkq.metrics.sqnr import sqnr_of
from sparkq.quantization.calibration.histogram import Histogram
from sparkq.quantization.calibration.image_set import CalibrationSet
from sparkq.quantization.calibration.observed_model import CountsOf
from sparkq.quantization.float_graph.pooling import PlaneMeans
from sparkq.quantization.float_graph.prepare import FloatGraph, float_graph, normalized_batches
from sparkq.quantization.float_graph.relu6 import BoundedReLU, lower_bounded_relus
from sparkq.quantization.float_graph.trace import shape_of
from sparkq.quantization.graph_edits import call_instead, finish
from sparkq.quantization.int8_graph.float_output import give_float_outputs
from sparkq.quantization.int8_graph.float_regions import keep_answers_in_float, keep_norms_in_float
from sparkq.quantization.int8_graph.islands import FloatCall, keep_islands_in_float
from sparkq.quantization.scales.activation_ranges import RANGES
from sparkq.quantization.scales.depthwise import slow_layers
from sparkq.quantization.scales.ties import settle_scales
from sparkq.quantization.scales.torch_observers import ActivationObserver, WeightObserver
from sparkq.quantization.weights.codebook import Compression
from sparkq.quantization.weights.rounding import fit_layers

__all__ = ["quantize_graph", "quantize_static"]

_FITTED_BYTES = 384 * 2**20
_FITTED_IMAGES = 128
# A mean needs fewer than a least-squares fit.
_CORRECTED_IMAGES = 64
_COMPARED_IMAGES = 64
# Modules of ours that stay as they are, and in float.
_LEAVES = [BoundedReLU, FloatCall, PlaneMeans]


def quantize_static(
    model: nn.Module, calibration: CalibrationSet, preprocess: PreprocessConfig, config: QuantizationConfig, *,
    floating: FloatGraph | None = None,
) -> nn.Module:
    """Quantize a float model, which is left as it was.

    Parameters
    ----------
    model : nn.Module
        In eval mode; takes float32 [N, 3, H, W].
    calibration : CalibrationSet
        What the activations' ranges are measured on.
    preprocess : PreprocessConfig
        How its input is normalized.
    config : QuantizationConfig
        Observer, techniques and batch size.
    floating : FloatGraph, optional
        What `float_graph` gives for them, where it is there already.

    Raises
    ------
    ModelError
        If torch cannot trace, prepare or convert it.
    """
    with quietly(), torch.no_grad():
        floating = floating or float_graph(model, calibration, preprocess, config)
        return quantize_graph(floating, normalized_batches(calibration, preprocess, config), config)


def quantize_graph(
    floating: FloatGraph, batches: list[Tensor], config: QuantizationConfig, *, in_float: Collection[str] = (),
) -> nn.Module:
    """Quantize a float graph, but for the layers `in_float` and those that `config` names.

    Ranges are those of all calibration images; weights are fitted, and observers compared, on the normalized `batches`.
    """
    kept = {*in_float, *config.float_layers, *(slow_layers(floating.graph) if config.float_slow_layers else ())}
    with quietly(), torch.no_grad():
        prepared = _prepare(floating.graph, batches[0][:1], config, kept)
        _observe(prepared, batches[0][:1], floating)
        converted = _convert(prepared, config, floating, batches)
        if config.avoid_ties:
            settle_scales(converted, floating.pixels)
        compression = Compression.of(config)
        if config.rounding == "least_squares" or config.bias_correction or config.avoid_ties or compression:
            few = _few(batches, floating.graph, _FITTED_IMAGES if config.rounding == "least_squares" else _CORRECTED_IMAGES)
            fit_layers(
                converted, floating.graph, few, round_weights=config.rounding == "least_squares",
                correct_biases=config.bias_correction, limit_pairs=_limits_pairs(config), avoid_ties=config.avoid_ties,
                compression=compression,
            )
        if config.float_output:
            give_float_outputs(converted)
        return converted


def _prepare(graph: fx.GraphModule, example: Tensor, config: QuantizationConfig, kept: Collection[str]) -> fx.GraphModule:
    """Insert observers; those behind a clamp know its bounds."""
    lowered = copy.deepcopy(graph)
    bounds = lower_bounded_relus(lowered, kept, saturating=config.activation_levels == 256)
    keep_norms_in_float(lowered)
    kept = [*kept, *keep_islands_in_float(lowered, kept), *keep_answers_in_float(lowered)]
    try:
        prepared: fx.GraphModule = prepare_fx(
            lowered, _qconfig_mapping(config, lowered, kept), (example,),
            prepare_custom_config=PrepareCustomConfig().set_non_traceable_module_classes(_LEAVES),
            backend_config=get_fbgemm_backend_config(),
        )
    except Exception as error:
        raise ModelError(
            f"model: expected one that torch.ao.quantization can prepare; got {type(error).__name__}: "
            f"{' '.join(str(error).split())[:300]}.", hint="name the layers that it stumbles over in quantization.float_layers.",
        ) from error
    for node in prepared.graph.nodes:
        observer = prepared.get_submodule(str(node.target)) if node.op == "call_module" else None
        if isinstance(observer, ActivationObserver) and str(node.args[0].target) in bounds:
            observer.lower_bound, observer.upper_bound = 0.0, bounds[str(node.args[0].target)]
    return prepared


def _observe(prepared: fx.GraphModule, example: Tensor, floating: FloatGraph) -> None:
    """Give each observer what all calibration images show it."""
    # Observers of weights that stand in the graph see all that they need in one pass.
    prepared(example)
    modules = {node: prepared.get_submodule(str(node.target)) for node in prepared.graph.nodes if node.op == "call_module"}
    observers = {node: module for node, module in modules.items() if isinstance(module, ActivationObserver)}
    for observer in observers.values():
        observer.histogram = Histogram()
    bounded = _with_bounds(prepared)
    names = [str(node.args[0]) for node in observers]
    for observer, histogram in zip(observers.values(), _histograms(floating, bounded, names), strict=True):
        # One observer may stand at several tensors, which then share a range.
        observer.histogram.merge(histogram)


def _histograms(floating: FloatGraph, bounded: fx.GraphModule, names: list[str]) -> list[Histogram]:
    """Histograms of nodes; what an earlier attempt has computed in the same way is not counted again."""
    computed = _computations(bounded)
    by_name = {node.name: node for node in computed}
    wanted = [by_name[name] for name in names]
    missing = {computed[node]: node for node in wanted if computed[node] not in floating.seen}
    counted = floating.observe(bounded, list(missing.values()), CountsOf).histograms
    floating.seen.update(zip(missing, counted, strict=True))
    return [floating.seen[computed[node]] for node in wanted]


def _computations(graph: fx.GraphModule) -> dict[fx.Node, str]:
    """What tells that two nodes compute the same of an image, in this graph and in other versions of the same float graph."""
    found: dict[fx.Node, str] = {}
    # Modules of ours stand in the places of others: those of one version are like none of another.
    version = secrets.token_hex(16)
    for node in graph.graph.nodes:
        module = graph.get_submodule(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, ActivationObserver):
            found[node] = found[node.args[0]]
            continue
        kind = version if isinstance(module, FloatCall) else type(module).__qualname__
        arguments = fx.node.map_arg((node.args, node.kwargs), lambda other: found[other])
        found[node] = hashlib.sha256(repr((node.op, str(node.target), kind, arguments)).encode()).hexdigest()
    return found


def _with_bounds(prepared: fx.GraphModule) -> fx.GraphModule:
    """A copy that clamps what INT8 will: else the layers behind a lowered ReLU6 would be calibrated on values that never come."""
    bounded = copy.deepcopy(prepared)
    for node in list(bounded.graph.nodes):
        observer = bounded.get_submodule(str(node.target)) if node.op == "call_module" else None
        if isinstance(observer, ActivationObserver) and observer.upper_bound < math.inf:
            call_instead(bounded, node, torch.clamp, (node.args[0], observer.lower_bound, observer.upper_bound))
    finish(bounded)
    return bounded


def _convert(
    prepared: fx.GraphModule, config: QuantizationConfig, floating: FloatGraph, batches: list[Tensor],
) -> fx.GraphModule:
    if config.observer != "auto":
        return _converted(prepared, config.observer)
    few = batches[:max(1, _COMPARED_IMAGES // len(batches[0]))]
    expected = torch.cat([floating.graph(batch) for batch in few]).numpy()
    best, highest = None, -math.inf
    for method in RANGES:
        candidate = _converted(prepared, method)
        sqnr = sqnr_of(expected, torch.cat([candidate(batch) for batch in few]).numpy())
        if best is None or sqnr > highest:
            best, highest = candidate, sqnr
    assert best is not None
    return best


def _converted(prepared: fx.GraphModule, method: str) -> fx.GraphModule:
    prepared = copy.deepcopy(prepared)
    for module in prepared.modules():
        if isinstance(module, ActivationObserver):
            module.method = method
    try:
        converted: fx.GraphModule = convert_fx(prepared, backend_config=get_fbgemm_backend_config())
    except Exception as error:
        raise ModelError(
            f"model: expected one that torch can convert to INT8; got {type(error).__name__}: "
            f"{' '.join(str(error).split())[:300]}.", hint="recipe none keeps it in float.",
        ) from error
    return converted


def _qconfig_mapping(config: QuantizationConfig, graph: fx.GraphModule, kept: Collection[str]) -> QConfigMapping:
    activation = ActivationObserver.with_args(method="histogram", levels=config.activation_levels)
    weight = WeightObserver.with_args(search=config.weight_scales == "mse", limit_pairs=_limits_pairs(config))
    mapping: Any = get_default_qconfig_mapping("fbgemm")
    mapping = mapping.set_global(QConfig(activation=activation, weight=weight))  # type: ignore[no-untyped-call]
    for name in kept:
        mapping = mapping.set_module_name(name, None)
    # In 8 bits a softmax over 1000 classes is 0 almost everywhere; the functional one torch leaves in float anyway.
    for kind in (*_LEAVES, nn.Softmax):
        mapping = mapping.set_object_type(kind, None)
    result: QConfigMapping = mapping
    return result


def _limits_pairs(config: QuantizationConfig) -> bool:
    # 7-bit activations leave room for any pair of weights.
    return config.target == "vnni" and config.limit_depthwise_weights


@contextmanager
def quietly() -> Iterator[None]:
    """Silence torch's warnings: torch.ao.quantization is deprecated upstream, and this package is the one place that uses it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _few(batches: list[Tensor], graph: fx.GraphModule, most: int) -> list[Tensor]:
    """Take batches of at most so many images as fit into memory when a layer's inputs are held for all of them."""
    largest = max((torch.Size(shape_of(node) or ()).numel() for node in graph.graph.nodes), default=1)
    images = min(most, max(1, _FITTED_BYTES // (4 * max(largest, 1))))
    return batches[:max(1, images // len(batches[0]))]
