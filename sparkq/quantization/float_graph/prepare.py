"""The float graph that recipes start from: traced, folded, equalized; it computes what the model computes."""
from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, fx, nn

from sparkq.config import PreprocessConfig, QuantizationConfig
from sparkq.quantization.calibration.histogram import Histogram
from sparkq.quantization.calibration.image_set import CalibrationSet
from sparkq.quantization.calibration.observed_model import Observe
from sparkq.quantization.float_graph.classifier import last_convolution_to_linear
from sparkq.quantization.float_graph.equalization import absorb_high_biases, equalize
from sparkq.quantization.float_graph.fold import fold_batch_norms
from sparkq.quantization.float_graph.macs import layer_macs
from sparkq.quantization.float_graph.pads import fold_pads
from sparkq.quantization.float_graph.pooling import keep_means_in_float
from sparkq.quantization.float_graph.relu6 import raise_bounded_relus
from sparkq.quantization.float_graph.trace import propagate_shapes, trace_float
from sparkq.quantization.normalization import normalize, pixel_values

__all__ = ["FloatGraph", "float_graph", "normalized_batches"]


@dataclass(frozen=True)
class FloatGraph:
    """A float model ready for quantization.

    Parameters
    ----------
    graph : GraphModule
        float32 [N, 3, H, W] to [N, C].
    macs : dict of str to int
        Multiply-accumulates an image by layer name, of the model as it came.
    observe : callable
        What all calibration images show of nodes of `graph`, or of a copy with other nodes.
    pixels : Tensor
        What the 256 values of a pixel are after normalization, float32 [256, 3, 1, 1].
    seen : dict of str to Histogram
        What was counted of all calibration images already, by what computes the values.
    """

    graph: fx.GraphModule
    macs: dict[str, int]
    observe: Observe
    pixels: Tensor
    seen: dict[str, Histogram] = field(default_factory=dict)


def float_graph(
    model: nn.Module, calibration: CalibrationSet, preprocess: PreprocessConfig, config: QuantizationConfig,
) -> FloatGraph:
    """Trace `model`, which is left as it was, and rewrite it for INT8 as `config` says.

    Raises
    ------
    ModelError
        If it cannot be traced, or does not run on the calibration images.
    """
    example = normalize(torch.from_numpy(calibration.images[:1]), preprocess)
    graph = trace_float(model, example)
    macs = layer_macs(graph)
    fold_batch_norms(graph, behind_relu=config.fold_batch_norms)
    fold_pads(graph)
    if config.float_output:
        last_convolution_to_linear(graph)
    # BatchNorms that pads stood before are in reach now.
    fold_batch_norms(graph, behind_relu=config.fold_batch_norms)
    if config.float_pooling:
        keep_means_in_float(graph)
    if config.clamp_ranges:
        raise_bounded_relus(graph)
    observe = partial(calibration.observe, preprocess=preprocess, batch_size=config.batch_size)
    if config.high_bias_absorption:
        absorb_high_biases(graph, observe)
    if config.equalization:
        equalize(graph, observe)
    propagate_shapes(graph, example)
    return FloatGraph(graph, macs, observe, pixel_values(preprocess))


def normalized_batches(
    calibration: CalibrationSet, preprocess: PreprocessConfig, config: QuantizationConfig, images: int | None = None,
) -> list[Tensor]:
    """The first `images` (default: all) of the sample of calibration images as the model takes them, in batches."""
    chosen = calibration.images[:images]
    return [
        normalize(torch.from_numpy(chosen[start:start + config.batch_size]), preprocess)
        for start in range(0, len(chosen), config.batch_size)
    ]
