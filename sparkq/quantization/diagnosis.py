"""A diagnosis of each layer for a report: its sensitivity, its weights, its inputs and the range that INT8 gives them."""
from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, fx, nn

from sparkq.config import PreprocessConfig, QuantizationConfig
from sparkq.quantization.calibration.histogram import BINS, Histogram
from sparkq.quantization.calibration.image_set import CalibrationSet
from sparkq.quantization.float_graph.macs import LAYER_KINDS, layer_macs
from sparkq.quantization.float_graph.prepare import FloatGraph, float_graph
from sparkq.quantization.float_graph.trace import input_node, shape_of, trace_float
from sparkq.quantization.normalization import normalize, pixel_values
from sparkq.quantization.recipes.sensitivity import layer_sensitivity
from sparkq.quantization.recipes.static import quietly
from sparkq.quantization.scales.depthwise import is_depthwise
from sparkq.quantization.scales.torch_observers import ActivationObserver

__all__ = ["Diagnosis", "Distribution", "InputDiagnosis", "LayerDiagnosis", "diagnose"]

_SHOWN_BINS = 64
_COUNTED_IMAGES = 64
_SENSITIVITY_IMAGES = 16
_SENSITIVITY_BYTES = 2**29


@dataclass(frozen=True, eq=False)
class Distribution:
    """How often values occur.

    Parameters
    ----------
    counts : ndarray of int64 [B]
        Values a bin, at most 64 bins.
    edges : ndarray of float64 [B + 1]
        Ends of the bins, rising.
    """

    counts: npt.NDArray[np.int64]
    edges: npt.NDArray[np.float64]

    @classmethod
    def of_weights(cls, weight: Tensor) -> Distribution:
        """Count weights in 64 bins between the extremes."""
        counts, edges = np.histogram(weight.double().numpy(), bins=_SHOWN_BINS)
        return cls(counts.astype(np.int64), edges)

    @classmethod
    def of_histogram(cls, histogram: Histogram) -> Distribution:
        """The occupied bins of what an observer has seen, so many of them in one that at most 64 are left."""
        occupied = np.flatnonzero(histogram.counts)
        first, last = int(occupied[0]), int(occupied[-1]) + 1
        together = -(-(last - first) // _SHOWN_BINS)
        starts = np.arange(first, last, together)
        edges = _edges(histogram)
        return cls(np.add.reduceat(histogram.counts, starts), edges[np.append(starts, min(int(starts[-1]) + together, BINS))])


@dataclass(frozen=True, eq=False)
class InputDiagnosis:
    """A layer's inputs on calibration images, and the range that INT8 gives them.

    Parameters
    ----------
    distribution : Distribution
        Of the float values.
    low, high : float
        Ends of the range that the observer chooses; it always holds zero.
    clipped_share : float
        Share (0 to 1) of the values that lie outside.
    """

    distribution: Distribution
    low: float
    high: float
    clipped_share: float


@dataclass(frozen=True, eq=False)
class LayerDiagnosis:
    """One convolution or linear layer of the float graph that a recipe starts from.

    Parameters
    ----------
    name : str
        Its module name.
    kind : str
        ``convolution``, ``depthwise convolution``, ``transposed convolution`` or ``linear``.
    weight_shape : tuple of int
        As torch stores it.
    macs : int, optional
        Multiply-accumulates an image; None for a layer that the model as it came does not have.
    sensitivity_db : float, optional
        SQNR of the model's output with only this layer in INT8; None where it was not measured.
    weights : Distribution
        Of the float weights.
    inputs : InputDiagnosis, optional
        None where no range is calibrated.
    """

    name: str
    kind: str
    weight_shape: tuple[int, ...]
    macs: int | None
    sensitivity_db: float | None
    weights: Distribution
    inputs: InputDiagnosis | None


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """All layers of a model.

    Parameters
    ----------
    layers : tuple of LayerDiagnosis
        In the order in which the model computes them.
    observer : str, optional
        What chose the ranges; None where no range is calibrated.
    images : int
        Calibration images that inputs were counted on; 0 where none were.
    sensitivity_images : int
        Calibration images that the sensitivity was measured on; 0 where it was not.
    """

    layers: tuple[LayerDiagnosis, ...]
    observer: str | None
    images: int
    sensitivity_images: int


def diagnose(
    model: nn.Module, calibration: CalibrationSet, preprocess: PreprocessConfig, config: QuantizationConfig,
) -> Diagnosis:
    """Look into every layer of a float model, which is left as it was. Runs on the driver.

    Recipes ``dynamic`` and ``none`` calibrate no range, so that only weights are looked at.

    Parameters
    ----------
    model : nn.Module
        Takes float32 [N, 3, H, W].
    calibration : CalibrationSet
        The images that the recipe was calibrated on. Inputs are counted on the first 64, sensitivities measured on the first 16
        (on fewer if their activations would take more than 512 MiB).
    preprocess : PreprocessConfig
        How its input is normalized.
    config : QuantizationConfig
        The recipe. Observer ``auto`` counts as ``histogram``.

    Raises
    ------
    ModelError
        If torch cannot trace it.
    """
    model = copy.deepcopy(model).eval()
    with quietly(), torch.no_grad():
        if config.recipe == "none":
            graph = trace_float(model, normalize(torch.from_numpy(calibration.images[:1]), preprocess))
            observe = partial(calibration.observe, preprocess=preprocess, batch_size=config.batch_size)
            whole = FloatGraph(graph, layer_macs(graph), observe, pixel_values(preprocess))
            return Diagnosis(_layers(whole, {}, {}), None, 0, 0)
        if config.recipe == "dynamic":
            # As the recipe does: equalization measures activations.
            config = replace(config, equalization=False, high_bias_absorption=False)
            return Diagnosis(_layers(float_graph(model, calibration, preprocess, config), {}, {}), None, 0, 0)
        floating = float_graph(model, calibration, preprocess, config)
        counted = calibration.images[:_COUNTED_IMAGES]
        batches = [
            normalize(torch.from_numpy(counted[start:start + config.batch_size]), preprocess)
            for start in range(0, len(counted), config.batch_size)
        ]
        measured = torch.cat(batches)[:_measured_images(floating.graph)]
        layers = _layers(floating, layer_sensitivity(floating.graph, measured, config), _observe(floating.graph, batches, config))
        return Diagnosis(layers, _observer(config), len(counted), len(measured))


def _observer(config: QuantizationConfig) -> str:
    return "histogram" if config.observer == "auto" else config.observer


def _measured_images(graph: fx.GraphModule) -> int:
    """Take as many images as fit into memory with all their activations, which `layer_sensitivity` holds; large networks are
    slow, too.
    """
    values = sum(torch.Size(shape_of(node) or ()).numel() for node in graph.graph.nodes if shape_of(node))
    return min(_SENSITIVITY_IMAGES, max(1, _SENSITIVITY_BYTES // (4 * max(values, 1))))


class _InputCounter(fx.Interpreter):
    """Runs a float graph and lets each layer's observer count what the layer takes."""

    def __init__(self, graph: fx.GraphModule, observers: dict[str, ActivationObserver]) -> None:
        super().__init__(graph)
        self.observers = observers

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Count, then compute."""
        if target in self.observers:
            self.observers[target](args[0] if args else kwargs["input"])
        return super().call_module(target, args, kwargs)


def _observe(graph: fx.GraphModule, batches: list[Tensor], config: QuantizationConfig) -> dict[str, ActivationObserver]:
    observers = {name: ActivationObserver(_observer(config), config.activation_levels) for name, _ in _named_layers(graph)}
    counter = _InputCounter(graph, observers)
    for batch in batches:
        counter.run(batch)
    return observers


def _named_layers(graph: fx.GraphModule) -> list[tuple[str, nn.Module]]:
    """List the layers in the order of their first call."""
    calls = dict.fromkeys(str(node.target) for node in graph.graph.nodes if node.op == "call_module" and input_node(node))
    return [(name, module) for name in calls if isinstance(module := graph.get_submodule(name), LAYER_KINDS)]


def _layers(
    floating: FloatGraph, sensitivity: dict[str, float], observers: dict[str, ActivationObserver],
) -> tuple[LayerDiagnosis, ...]:
    return tuple(
        LayerDiagnosis(
            name, _kind(layer, weight), tuple(weight.shape), floating.macs.get(name), sensitivity.get(name),
            Distribution.of_weights(weight.detach()), _inputs(observers[name]) if name in observers else None,
        ) for name, layer in _named_layers(floating.graph) if isinstance(weight := layer.weight, Tensor)
    )


def _kind(layer: nn.Module, weight: Tensor) -> str:
    if isinstance(layer, nn.Linear):
        return "linear"
    if isinstance(layer, nn.ConvTranspose2d):
        return "transposed convolution"
    return "depthwise convolution" if is_depthwise(weight) else "convolution"


def _inputs(observer: ActivationObserver) -> InputDiagnosis:
    low, high = map(float, observer.range())
    histogram = observer.histogram
    edges = _edges(histogram)
    # Whole bins only: the extremes themselves lie somewhere inside theirs.
    outside = (edges[1:] <= low) | (edges[:-1] > high)
    clipped = histogram.counts[outside].sum() / max(histogram.counts.sum(), 1)
    return InputDiagnosis(Distribution.of_histogram(histogram), low, high, float(clipped))


def _edges(histogram: Histogram) -> npt.NDArray[np.float64]:
    return (np.arange(BINS + 1, dtype=np.float64) - BINS // 2) * (2.0 ** (histogram.exponent + 1) / BINS)
