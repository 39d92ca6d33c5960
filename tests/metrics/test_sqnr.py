"""Signal-to-quantization-noise ratio."""
from __future__ import annotations

import math

import numpy as np
import pytest

from sparkq.metrics.sqnr import sqnr_db, sqnr_of


@pytest.mark.parametrize(("signal", "noise", "expected"), [
    (100.0, 1.0, 20.0), (1.0, 1.0, 0.0), (1.0, 1000.0, -30.0), (2.0, 1.0, 3.0103),
    (5.0, 0.0, math.inf), (0.0, 0.0, math.inf), (0.0, 1.0, -math.inf),
])
def test_of_powers(signal: float, noise: float, expected: float) -> None:
    assert sqnr_db(signal, noise) == pytest.approx(expected, abs=1e-4)


def test_of_arrays() -> None:
    """A tenth of the amplitude is a hundredth of the power."""
    reference = np.array([[3, -4], [0, 10]], np.float32)
    assert sqnr_of(reference, reference * np.float32(1.1)) == pytest.approx(20, abs=1e-4)
    assert sqnr_of(reference, reference) == math.inf


def test_small_noise_beside_large_values() -> None:
    """Summed in double precision: in float32 a difference of one step among a million values would vanish."""
    reference = np.full(1_000_000, 1000, np.float32)
    other = reference.copy()
    other[0] = np.nextafter(other[0], np.float32(2000))
    step = float(other[0]) - 1000
    assert sqnr_of(reference, other) == pytest.approx(10 * math.log10(1e12 / step**2), abs=1e-6)


def test_not_a_number_is_not_good() -> None:
    """Whoever compares it with a limit must find it wanting."""
    reference = np.ones(3, np.float32)
    assert not sqnr_of(reference, np.array([1, np.nan, 1], np.float32)) >= 25
