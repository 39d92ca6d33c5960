"""Histograms on a grid of powers of two: the same counts whatever the order and the batches that data came in."""
from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["BINS", "Histogram", "count_values"]

BINS = 8192
"""Bins over ``[-2**exponent, 2**exponent)``, all values below the end; doubling the range merges pairs of them exactly."""
_LEAST_EXPONENT = -40
_VALUES_AT_ONCE = 2**15


def count_values(values: Tensor) -> tuple[Tensor, Tensor]:
    """Count the values of a tensor on the smallest grid that holds them.

    Parameters
    ----------
    values : Tensor
        Any shape; may be empty.

    Returns
    -------
    counts : Tensor
        int64 [BINS]; zeros where a value is not finite.
    span : Tensor
        float64 [3]: the grid's exponent, the lowest value, the highest.
    """
    counts = torch.zeros(BINS, dtype=torch.int64)
    low, high = math.inf, -math.inf
    exponent = _LEAST_EXPONENT
    if values.numel() > 0:
        # In the order of memory, so that nothing is copied: counts know no order.
        channels_last = values.ndim == 4 and values.is_contiguous(memory_format=torch.channels_last)
        flat = (values.permute(0, 2, 3, 1) if channels_last else values).reshape(-1).to(torch.float32)
        least, largest = torch.aminmax(flat)
        low, high = float(least), float(largest)
        extreme = max(abs(low), abs(high))
        if extreme > 0 and math.isfinite(extreme):
            # frexp: the least power of two that is larger.
            exponent = max(exponent, math.frexp(extreme)[1])
        if math.isfinite(low) and math.isfinite(high):
            # Multiplication by a power of two is exact, so that the same value always falls into the same bin.
            counts = _counted(flat, 2.0 ** (exponent + 1) / BINS)
    return counts, torch.tensor([float(exponent), low, high], dtype=torch.float64)


def _counted(flat: Tensor, width: float) -> Tensor:
    counts = torch.zeros(BINS, dtype=torch.int64)
    # Blocks that stay in the processor's cache through all the steps.
    for block in torch.split(flat, _VALUES_AT_ONCE):
        numbers = (block * (1 / width)).floor_().to(torch.int32).add_(BINS // 2)
        counts += torch.bincount(numbers, minlength=BINS)
    return counts


@dataclass
class Histogram:
    """Counts of the values that an observer has seen.

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

    @classmethod
    def of(cls, counts: npt.NDArray[np.int64], span: npt.NDArray[np.float64]) -> Histogram:
        """From what `count_values` found, as arrays."""
        return cls(int(span[0]), counts, float(span[1]), float(span[2]))

    def add(self, values: Tensor) -> None:
        """Count the values of a float tensor."""
        counts, span = count_values(values.detach())
        self.merge(Histogram.of(counts.numpy(), span.numpy()))

    def merge(self, other: Histogram) -> None:
        """Take in what another observer has seen."""
        if other.exponent > self.exponent:
            self.counts = _coarsened(self.counts, other.exponent - self.exponent)
            self.exponent = other.exponent
        self.counts = self.counts + _coarsened(other.counts, self.exponent - other.exponent)
        # NaN stays NaN, whichever side it is on.
        self.minimum = float(np.minimum(self.minimum, other.minimum))
        self.maximum = float(np.maximum(self.maximum, other.maximum))

    def centers(self) -> npt.NDArray[np.float64]:
        """Middle of each bin."""
        width = 2.0 ** (self.exponent + 1) / BINS
        return (np.arange(BINS, dtype=np.float64) - BINS // 2 + 0.5) * width


def _coarsened(counts: npt.NDArray[np.int64], steps: int) -> npt.NDArray[np.int64]:
    for _ in range(steps):
        if not counts.any():
            break
        pairs = counts.reshape(-1, 2).sum(1)
        counts = np.zeros_like(counts)
        counts[BINS // 4:BINS // 4 + BINS // 2] = pairs
    return counts
