"""Activation ranges: from what was seen of an activation to the range that INT8 represents, one function an observer name.

A narrow range cuts off large values, a wide one gives all others coarse steps.

- ``min_max`` cuts off nothing: right where extremes matter, poor where one value in a million is far out.
- ``percentile`` cuts off the tails that hold 0.01 % of the values (Wu et al. 2020, "Integer Quantization for Deep Learning
  Inference: Principles and Empirical Evaluation", section 4.1).
- ``histogram`` and ``mse`` look for the range of least squared error, with a model of the rounding (a step squared / 12, zeros
  exact) or with the rounding of each bin's middle itself.
- ``entropy`` looks for the least Kullback-Leibler divergence (Migacz 2017, "8-bit Inference with TensorRT").
"""
from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from sparkq.quantization.calibration.histogram import Histogram

__all__ = ["RANGES", "Range", "quantization_parameters"]

Range = tuple[float, float]
_Array = npt.NDArray[np.float64]

PERCENTILE = 99.99
_STEPS = 100
_LEAST_SHARE = 0.1
_KL_STEPS = 64


def quantization_parameters(low: float, high: float, levels: int) -> tuple[float, int]:
    """Scale and zero point of unsigned integers 0 to ``levels - 1`` for a range, which is first made to hold zero."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max((high - low) / (levels - 1), 2.0**-40)
    return scale, int(np.clip(round(-low / scale), 0, levels - 1))


def _min_max(histogram: Histogram, levels: int, low: float, high: float) -> Range:
    return low, high


def _percentile(histogram: Histogram, levels: int, low: float, high: float) -> Range:
    """Cut the tails that hold 0.01 % of the values."""
    centers, counts = _seen(histogram, low, high)
    shares = np.cumsum(counts) / counts.sum()
    tail = 1 - PERCENTILE / 100
    lower = low if low >= 0 else float(centers[int(np.searchsorted(shares, tail))])
    return max(low, lower), min(high, float(centers[min(int(np.searchsorted(shares, 1 - tail)), len(centers) - 1)]))


def _least_error(histogram: Histogram, levels: int, low: float, high: float, error: Callable[..., float]) -> Range:
    """The range of least `error`: ends searched one after the other, twice, from the whole range inwards."""
    centers, counts = _seen(histogram, low, high)
    best_low, best_high = low, high
    shares = np.linspace(_LEAST_SHARE, 1, _STEPS)[::-1]
    for _ in range(2 if low < 0 < high else 1):
        if high > 0:
            best_high = min((high * share for share in shares), key=lambda end: error(centers, counts, best_low, end, levels))
        if low < 0:
            best_low = min((low * share for share in shares), key=lambda end: error(centers, counts, end, best_high, levels))
    return best_low, best_high


def _squared_error(centers: _Array, counts: _Array, low: float, high: float, levels: int) -> float:
    """Squared error of rounding and clipping each bin's middle."""
    scale, zero_point = quantization_parameters(low, high, levels)
    rounded = (np.clip(np.rint(centers / scale) + zero_point, 0, levels - 1) - zero_point) * scale
    return float(((rounded - centers) ** 2 * counts).sum())


def _modelled_error(centers: _Array, counts: _Array, low: float, high: float, levels: int) -> float:
    """Squared error where values inside the range round to anywhere within a step (scale^2 / 12) and zeros are exact."""
    scale, _ = quantization_parameters(low, high, levels)
    outside = np.maximum(np.maximum(centers - max(high, 0.0), min(low, 0.0) - centers), 0)
    width = centers[1] - centers[0] if len(centers) > 1 else 0.0
    inside = (outside == 0) & (np.abs(centers) > width)
    return float((outside**2 * counts).sum() + scale**2 / 12 * counts[inside].sum())


def _histogram(histogram: Histogram, levels: int, low: float, high: float) -> Range:
    return _least_error(histogram, levels, low, high, _modelled_error)


def _mse(histogram: Histogram, levels: int, low: float, high: float) -> Range:
    return _least_error(histogram, levels, low, high, _squared_error)


def _entropy(histogram: Histogram, levels: int, low: float, high: float) -> Range:
    """Least Kullback-Leibler divergence; the bin of zeros is left out."""
    centers, counts = _seen(histogram, low, high)
    counts = np.where(np.abs(centers) <= (centers[1] - centers[0] if len(centers) > 1 else 0), 0, counts)
    if not counts.any():
        return low, high
    shares = np.linspace(_LEAST_SHARE, 1, _KL_STEPS)[::-1]
    best = min(shares, key=lambda share: _divergence(centers, counts, low * share, high * share, levels))
    return low * float(best), high * float(best)


def _divergence(centers: _Array, counts: _Array, low: float, high: float, levels: int) -> float:
    inside = (centers >= low) & (centers <= high)
    kept = counts[inside]
    if len(kept) < 2 or not kept.any():
        return float("inf")
    # What lies outside is clipped onto the ends: in the reference distribution, not in what INT8 makes of it.
    reference = kept.astype(np.float64).copy()
    reference[0] += counts[centers < low].sum()
    reference[-1] += counts[centers > high].sum()
    groups = np.minimum(np.arange(len(kept)) * levels // len(kept), levels - 1)
    occupied = reference > 0
    sums = np.bincount(groups, kept, levels)
    members = np.bincount(groups, occupied, levels)
    quantized = np.where(occupied, (sums / np.maximum(members, 1))[groups], 0)
    p, q = reference / reference.sum(), quantized / max(quantized.sum(), 1e-12)
    return float((p[occupied] * np.log(p[occupied] / np.maximum(q[occupied], 1e-12))).sum())


def _seen(histogram: Histogram, low: float, high: float) -> tuple[_Array, _Array]:
    """Middles and counts of the bins between the extremes; what lies beyond them is clipped onto them."""
    centers = np.clip(histogram.centers(), low, high)
    occupied = np.flatnonzero(histogram.counts)
    span = slice(occupied[0], occupied[-1] + 1)
    return centers[span], histogram.counts[span].astype(np.float64)


RANGES: dict[str, Callable[[Histogram, int, float, float], Range]] = {
    "histogram": _histogram,
    "min_max": _min_max,
    "percentile": _percentile,
    "mse": _mse,
    "entropy": _entropy,
}
"""By observer name: (histogram, levels, low, high) to a range, where low and high are the extremes after clamping."""
