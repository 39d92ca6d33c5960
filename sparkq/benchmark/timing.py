"""Interleaved rounds, medians with spread, and fits make figures of times that a shared machine disturbs."""
from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

__all__ = [
    "Latency", "LinearFit", "Passes", "Spread", "growth_exponent", "interleaved", "latency_of", "linear_fit", "passes",
    "ratio_of", "spread_of",
]

Key = TypeVar("Key")
Result = TypeVar("Result")
_LEAST_PASSES = 3


@dataclass(frozen=True)
class Spread:
    """The median of several rounds and how far they spread.

    Parameters
    ----------
    median, low, high : float
        Median, smallest and largest value of the rounds.
    rounds : int
        How many rounds gave a value.
    """

    median: float
    low: float
    high: float
    rounds: int


@dataclass(frozen=True)
class Latency:
    """Percentiles of the seconds of a forward pass.

    Parameters
    ----------
    p50, p90, p99 : float
        Percentiles in seconds, over all rounds.
    passes : int
        How many passes there were: of fewer than a hundred, p99 is the largest.
    """

    p50: float
    p90: float
    p99: float
    passes: int


@dataclass(frozen=True)
class LinearFit:
    """A line ``seconds = fixed + marginal * images``.

    Parameters
    ----------
    fixed : float
        Seconds of a job without images.
    marginal : float
        Seconds of each image.
    """

    fixed: float
    marginal: float


def interleaved(runs: Mapping[Key, Callable[[int], Result]], *, rounds: int) -> dict[Key, list[Result]]:
    """Call every one of `runs` with the round's number once a round, so that the machine's drift meets all alike.

    Every second round goes backwards: the one that comes after a run that heats the CPU, or fills its caches, changes.

    Returns
    -------
    dict
        The results of each run, one a round, in order.
    """
    results: dict[Key, list[Result]] = {key: [] for key in runs}
    for number in range(rounds):
        order = list(runs) if number % 2 == 0 else list(runs)[::-1]
        for key in order:
            results[key].append(runs[key](number))
    return results


@dataclass(frozen=True)
class Passes:
    """The seconds of single calls.

    Parameters
    ----------
    wall : list of float
        Times by the clock, for which a caller waits, other processes' turns included.
    core : list of float
        Times of all this process's threads on a core: the cost of a call, whoever else wants the core.
    """

    wall: list[float]
    core: list[float]


def passes(run: Callable[[], object], *, seconds: float) -> Passes:
    """Time calls of `run`, as many as fit into `seconds` on a core, at least three times."""
    wall: list[float] = []
    core: list[float] = []
    while len(core) < _LEAST_PASSES or sum(core) < seconds:
        wall_started, core_started = time.perf_counter(), time.process_time()
        run()
        wall.append(time.perf_counter() - wall_started)
        core.append(time.process_time() - core_started)
    return Passes(wall, core)


def latency_of(seconds: Sequence[float]) -> Latency:
    """Return percentiles of the times of single passes."""
    p50, p90, p99 = np.percentile(seconds, (50, 90, 99), method="higher")
    return Latency(float(p50), float(p90), float(p99), len(seconds))


def spread_of(values: Sequence[float]) -> Spread | None:
    """Return the spread of one value a round; NaN is a round that found none, and None is the spread of nothing."""
    found = [value for value in values if math.isfinite(value)]
    return Spread(statistics.median(found), min(found), max(found), len(found)) if found else None


def ratio_of(values: Sequence[float], baseline: Sequence[float]) -> Spread | None:
    """Return the spread of the ratios of two that ran in the same rounds, ``values[i] / baseline[i]``."""
    return spread_of([value / other for value, other in zip(values, baseline, strict=True)])


def linear_fit(images: Sequence[float], seconds: Sequence[float]) -> LinearFit:
    """Fit a line to at least two sizes by least squares."""
    marginal, fixed = np.polyfit(np.asarray(images, float), np.asarray(seconds, float), 1)
    return LinearFit(float(fixed), float(marginal))


def growth_exponent(images: Sequence[int], seconds: Sequence[float]) -> float:
    """Return the exponent e of ``seconds = fixed + c * images ** e``: 1 where cost grows linearly.

    The first size stands for the fixed cost and is so small that its images count little; the slope of log(seconds - fixed)
    over log(images) of the others is e. A fixed cost taken from a straight line through all sizes would hide a curve.

    Returns
    -------
    float
        NaN if a larger job was not slower than the first.
    """
    more = np.asarray(images[1:], float) - images[0]
    longer = np.asarray(seconds[1:], float) - seconds[0]
    if (longer <= 0).any():
        return math.nan
    return float(np.polyfit(np.log(more), np.log(longer), 1)[0])
