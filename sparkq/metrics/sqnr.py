"""Signal-to-quantization-noise ratio."""
from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

__all__ = ["sqnr_db", "sqnr_of"]


def sqnr_db(signal: float, noise: float) -> float:
    """``10 log10(signal / noise)`` of two powers (sums of squares); infinite where nothing differs."""
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf


def sqnr_of(reference: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    """SQNR in dB of `other` against `reference`, arrays of one shape."""
    wide = reference.astype(np.float64)
    return sqnr_db(float(np.sum(wide**2)), float(np.sum((wide - other) ** 2)))
