"""Counts of values that come in pieces: of a range that is known, or of one that grows."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Counts", "growing_counts", "share_counts"]

_SHARE_BINS = 40
_GROWING_BINS = 64


@dataclass(frozen=True, eq=False)
class Counts:
    """Counts in equal bins from `low` to `high`.

    Parameters
    ----------
    counts : ndarray of int64 [bins]
        Values a bin.
    low, high : float
        Ends of the range.
    """

    counts: npt.NDArray[np.int64]
    low: float
    high: float

    @property
    def total(self) -> int:
        """Values in all."""
        return int(self.counts.sum())

    def quantile(self, share: float) -> float:
        """The value below which `share` of the values lie, as if those of a bin were spread evenly in it."""
        below = np.concatenate([[0], np.cumsum(self.counts)])
        place = np.interp(share * self.total, below, np.arange(len(below)))
        return float(self.low + place * (self.high - self.low) / len(self.counts))


def share_counts(before: Counts | None, values: npt.NDArray[np.float64]) -> Counts:
    """Counts of shares, 0 to 1; what lies outside counts in the bin at that end. NaN counts nowhere."""
    return _added(before or Counts(np.zeros(_SHARE_BINS, np.int64), 0.0, 1.0), values)


def growing_counts(before: Counts | None, values: npt.NDArray[np.float64]) -> Counts:
    """Counts of values from 0 up: where one is too large, two bins become one until it fits."""
    values = values[np.isfinite(values)]
    largest = float(values.max(initial=0.0))
    if before is None:
        # Of denormal numbers bins would have no width.
        high = 2.0 ** max(np.ceil(np.log2(largest)), -900.0) if largest > 0 else 1.0
        before = Counts(np.zeros(_GROWING_BINS, np.int64), 0.0, float(high))
    while largest > before.high:
        merged = before.counts.reshape(-1, 2).sum(axis=1)
        before = Counts(np.concatenate([merged, np.zeros_like(merged)]), 0.0, 2 * before.high)
    return _added(before, values)


def _added(before: Counts, values: npt.NDArray[np.float64]) -> Counts:
    inside = np.clip(values[~np.isnan(values)], before.low, before.high)
    counts, _ = np.histogram(inside, bins=len(before.counts), range=(before.low, before.high))
    return Counts(before.counts + counts, before.low, before.high)
