"""Histograms on a grid of powers of two: the same counts whatever the order and the batches that data came in."""
from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

__all__ = ["BINS", "Histogram"]

BINS = 8192
"""Bins over ``[-2**exponent, 2**exponent)``; doubling the range merges pairs of them exactly."""
_LEAST_EXPONENT = -40


@dataclass
class Histogram:
    """What an observer has seen.

    Parameters
    ----------
    exponent : int
        The grid spans ``[-2**exponent, 2**exponent)``.
    counts : ndarray of int64 [BINS]
        Values a bin.
    minimum, maximum : float
        Exact extremes; infinite while nothing was seen.
    """

    exponent: int = _LEAST_EXPONENT
    counts: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))
    minimum: float = math.inf
    maximum: float = -math.inf

    def add(self, values: torch.Tensor) -> None:
        """Count the values of a float tensor."""
        low, high = (float(number) for number in torch.aminmax(values))
        self._grow(max(abs(low), abs(high)))
        width = 2.0 ** (self.exponent + 1) / BINS
        # Multiplication by a power of two is exact, so that the same value always falls into the same bin.
        bins = (values.reshape(-1).to(torch.float32) * (1 / width)).floor_().to(torch.int32) + BINS // 2
        self.counts += torch.bincount(bins.clamp_(0, BINS - 1), minlength=BINS).numpy()
        self.minimum, self.maximum = min(self.minimum, low), max(self.maximum, high)

    def merge(self, other: Histogram) -> None:
        """Take in what another observer has seen."""
        self._grow(2.0 ** other.exponent)
        self.counts += _coarsened(other.counts, self.exponent - other.exponent)
        self.minimum, self.maximum = min(self.minimum, other.minimum), max(self.maximum, other.maximum)

    def centers(self) -> npt.NDArray[np.float64]:
        """Middle of each bin."""
        width = 2.0 ** (self.exponent + 1) / BINS
        return (np.arange(BINS, dtype=np.float64) - BINS // 2 + 0.5) * width

    def _grow(self, extreme: float) -> None:
        exponent = max(_LEAST_EXPONENT, math.ceil(math.log2(extreme))) if extreme > 0 else _LEAST_EXPONENT
        if exponent > self.exponent:
            self.counts = _coarsened(self.counts, exponent - self.exponent)
            self.exponent = exponent


def _coarsened(counts: npt.NDArray[np.int64], steps: int) -> npt.NDArray[np.int64]:
    for _ in range(steps):
        if not counts.any():
            break
        pairs = counts.reshape(-1, 2).sum(1)
        counts = np.zeros_like(counts)
        counts[BINS // 4:BINS // 4 + BINS // 2] = pairs
    return counts
