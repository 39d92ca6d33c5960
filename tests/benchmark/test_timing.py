"""Known times in, known figures out."""
from __future__ import annotations

import math
from functools import partial
from time import sleep

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkq.benchmark.timing import (
    Latency,
    Spread,
    growth_exponent,
    interleaved,
    latency_of,
    linear_fit,
    passes,
    ratio_of,
    spread_of,
)

SIZES = (4, 100, 200, 400)


def test_rounds_go_forth_and_back() -> None:
    """Every task once a round; its results in the order of rounds."""
    calls: list[tuple[str, int]] = []

    def task(name: str, number: int) -> str:
        calls.append((name, number))
        return f"{name}{number}"

    tasks = {name: partial(task, name) for name in "abc"}
    assert interleaved(tasks, rounds=3) == {name: [f"{name}{number}" for number in range(3)] for name in "abc"}
    assert "".join(name for name, _ in calls) == "abccbaabc"
    assert [number for _, number in calls] == [0] * 3 + [1] * 3 + [2] * 3


def test_a_ratio_is_taken_within_a_round() -> None:
    """A machine that is half as fast in the second round changes no ratio; ratios of medians would hide that they agree."""
    assert ratio_of([200.0, 100.0, 210.0], [100.0, 50.0, 105.0]) == Spread(2.0, 2.0, 2.0, 3)


def test_spread() -> None:
    assert spread_of([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0, 3)
    assert spread_of([1.0, 2.0]) == Spread(1.5, 1.0, 2.0, 2)


def test_rounds_without_a_value() -> None:
    """They are left out, and counted as missing; JSON has no NaN."""
    assert spread_of([math.nan, 2.0]) == Spread(2.0, 2.0, 2.0, 1)
    assert spread_of([math.nan]) is None
    assert ratio_of([1.0, math.nan], [math.nan, 1.0]) is None


def test_latency() -> None:
    """Percentiles are times that occurred."""
    assert latency_of([number / 1000 for number in range(101)]) == Latency(0.05, 0.09, 0.099, 101)
    assert latency_of([1.0, 5.0, 3.0]) == Latency(3.0, 5.0, 5.0, 3)


def test_passes_until_the_time_is_up() -> None:
    calls: list[int] = []
    assert len(passes(lambda: calls.append(1), seconds=0).wall) == len(calls) == 3
    found = passes(lambda: sum(range(1000)), seconds=0.01)
    assert len(found.wall) == len(found.core) > 3 and sum(found.core) >= 0.01 and min(found.wall) > 0


def test_waiting_is_not_time_on_a_core() -> None:
    """Another process's turn makes latency worse, not the engine."""
    found = passes(lambda: sleep(0.02), seconds=0)
    assert sum(found.wall) >= 0.06 and sum(found.core) < sum(found.wall) / 2


@given(fixed=st.floats(0, 100), marginal=st.floats(1e-4, 1))
def test_a_line_is_found(fixed: float, marginal: float) -> None:
    fit = linear_fit(SIZES, [fixed + marginal * size for size in SIZES])
    assert fit.fixed == pytest.approx(fixed, abs=1e-6) and fit.marginal == pytest.approx(marginal, rel=1e-6, abs=1e-9)


@given(fixed=st.floats(0, 10), exponent=st.floats(0.5, 2))
def test_the_exponent_is_found_whatever_the_fixed_cost(fixed: float, exponent: float) -> None:
    """A quadratic job shows as one, a linear one as linear."""
    seconds = [fixed, *(fixed + 0.01 * (size - SIZES[0]) ** exponent for size in SIZES[1:])]
    assert growth_exponent(SIZES, seconds) == pytest.approx(exponent, rel=1e-6)


def test_no_exponent_where_larger_jobs_take_no_longer() -> None:
    assert math.isnan(growth_exponent(SIZES, [2.0, 1.0, 3.0, 4.0]))
