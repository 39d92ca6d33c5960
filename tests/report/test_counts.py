"""Histograms that grow: the same counts whatever comes first."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sparkq.report.counts import Counts, growing_counts, share_counts


@given(st.lists(st.lists(st.floats(0, 1e6), max_size=20), min_size=1, max_size=6))
@example([[5e-324]])
def test_growing(pieces: list[list[float]]) -> None:
    """No value is lost, each lies in its bin, and the range ends at most at twice the largest."""
    histogram = None
    for piece in pieces:
        histogram = growing_counts(histogram, np.array(piece, np.float64))
    assert histogram is not None
    values = np.array([value for piece in pieces for value in piece])
    assert histogram.total == len(values)
    expected, _ = np.histogram(values, len(histogram.counts), (0, histogram.high))
    # A value on an edge may lie on either side of it.
    assert np.abs(np.cumsum(histogram.counts) - np.cumsum(expected)).max() <= np.isin(
        values, np.linspace(0, histogram.high, len(expected) + 1),
    ).sum()


def test_shares() -> None:
    """Both ends are in; what is no number is nowhere."""
    histogram = share_counts(None, np.array([0.0, 1.0, 0.999, 0.5, np.nan, 1.0000001]))
    assert (histogram.counts[0], histogram.counts[20], histogram.counts[-1], histogram.total) == (1, 1, 3, 5)


def test_quantile() -> None:
    histogram = Counts(np.array([0, 10, 10, 0]), 0.0, 4.0)
    assert [histogram.quantile(share) for share in (0.25, 0.5, 0.75)] == pytest.approx([1.5, 2.0, 2.5])
