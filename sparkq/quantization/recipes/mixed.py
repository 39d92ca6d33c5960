"""Mixed recipe: as many multiply-accumulates in INT8 as the wanted signal-to-noise ratio allows."""
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sparkq.config import PreprocessConfig, QuantizationConfig
from sparkq.metrics.sqnr import sqnr_of
from sparkq.quantization.calibration.image_set import CalibrationSet
from sparkq.quantization.float_graph.macs import float_layers, int8_share
from sparkq.quantization.float_graph.prepare import FloatGraph, float_graph, normalized_batches
from sparkq.quantization.recipes.sensitivity import layer_sensitivity
from sparkq.quantization.recipes.static import quantize_graph, quietly
from sparkq.redaction import get_logger

__all__ = ["NoisyLayer", "choose_float_layers", "float_order", "quantize_mixed"]

_logger = get_logger(__name__)
_MEASURED_IMAGES = 16
_ORDERED_IMAGES = 8


def quantize_mixed(
    model: nn.Module, calibration: CalibrationSet, preprocess: PreprocessConfig, config: QuantizationConfig, *,
    floating: FloatGraph | None = None,
) -> nn.Module:
    """Quantize a float model, which is left as it was, down to ``config.minimum_sqnr_db`` on the calibration images.

    Raises
    ------
    ModelError
        If torch cannot trace, prepare or convert it.
    """
    with quietly(), torch.no_grad():
        floating = floating or float_graph(model, calibration, preprocess, config)
        batches = normalized_batches(calibration, preprocess, config)
        return choose_float_layers(floating, batches, config)


@dataclass(frozen=True)
class NoisyLayer:
    """What giving up one layer to float would do.

    Parameters
    ----------
    name : str
        Its module name.
    noise : float
        Its share (0 to 1) of the noise power at the output; noise of single layers adds up, nearly.
    macs : float
        Its share (0 to 1) of the multiply-accumulates.
    """

    name: str
    noise: float
    macs: float


def float_order(
    floating: FloatGraph, calibration: CalibrationSet, preprocess: PreprocessConfig, config: QuantizationConfig,
) -> tuple[NoisyLayer, ...]:
    """Layers that may be given up to float, most noise a multiply-accumulate first; without ``config.float_layers``.

    Parameters
    ----------
    floating : FloatGraph
        The model's, rewritten as `config` says.
    calibration, preprocess, config
        As for `quantize_mixed`.
    """
    with quietly(), torch.no_grad():
        measured = torch.cat(normalized_batches(calibration, preprocess, config, _ORDERED_IMAGES))
        noise = _noise(floating, measured, config)
        total, macs = sum(noise.values()), max(sum(floating.macs.values()), 1)
        return tuple(
            NoisyLayer(name, noise[name] / max(total, 1e-30), floating.macs.get(name, 1) / macs)
            for name in _ordered(floating, noise) if name not in config.float_layers
        )


def _noise(floating: FloatGraph, measured: Tensor, config: QuantizationConfig) -> dict[str, float]:
    return {name: 10 ** (-sqnr / 10) for name, sqnr in layer_sensitivity(floating.graph, measured, config).items()}


def _ordered(floating: FloatGraph, noise: dict[str, float]) -> list[str]:
    return sorted(noise, key=lambda name: noise[name] / max(floating.macs.get(name, 1), 1), reverse=True)


def choose_float_layers(floating: FloatGraph, batches: list[Tensor], config: QuantizationConfig) -> nn.Module:
    """Quantize with the fewest multiply-accumulates in float that reach ``config.minimum_sqnr_db``.

    Noise of single layers adds up, nearly; so layers are given up in the order of noise a multiply-accumulate, and a
    bisection over how many of them finds the first model that reaches the target when measured as a whole.

    Returns
    -------
    Module
        The quantized one; wholly in float, if nothing less reaches the target.
    """
    measured = torch.cat(batches)[:_MEASURED_IMAGES]
    expected = floating.graph(measured).numpy()

    def attempt(in_float: list[str]) -> tuple[nn.Module, bool]:
        candidate = quantize_graph(floating, batches, config, in_float=in_float)
        sqnr = sqnr_of(expected, candidate(measured).numpy())
        share = int8_share(floating.macs, float_layers(candidate))
        _logger.info("mixed: %d layers in float, %.1f %% of MACs in INT8: %.1f dB", len(in_float), 100 * share, sqnr)
        return candidate, sqnr >= config.minimum_sqnr_db

    # Most models need no layer in float: tried first, then the interval is halved.
    found, reached = attempt([])
    if reached:
        return found
    order = _ordered(floating, _noise(floating, measured, config))
    low, high = 1, len(order)
    while low < high:
        middle = (low + high) // 2
        candidate, reached = attempt(order[:middle])
        if reached:
            found, high = candidate, middle
        else:
            low = middle + 1
    return found if high < len(order) else attempt(order)[0]
