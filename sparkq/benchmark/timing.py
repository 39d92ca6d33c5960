"""How figures are made of times that a shared machine disturbs: interleaved rounds, medians with spread, fits."""
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
    """A figure of several rounds.

    Parameters
    ----------
    median, low, high : float
        Over the rounds; low and high are the smallest and the largest.
    rounds : int
        How many gave a value.
    """

    median: float
    low: float
    high: float
    rounds: int


@dataclass(frozen=True)
class Latency:
    """Seconds of one forward pass.

    Parameters
    ----------
    p50, p90, p99 : float
        Percentiles in seconds, over all rounds.
    passes : int
        How many passes that is: of fewer than a hundred, p99 is the largest.
    """

    p50: float
    p90: float
    p99: float
    passes: int


@dataclass(frozen=True)
class LinearFit:
    """``seconds = fixed + marginal * images``.

    Parameters
    ----------
    fixed : float
        Seconds.
    marginal : float
        Seconds an image.
    """

    fixed: float
    marginal: float


def interleaved(tasks: Mapping[Key, Callable[[int], Result]], *, rounds: int) -> dict[Key, list[Result]]:
    """Run every task with the round's number once a round, one after the other, so that the machine's drift meets all alike.

    Every second round goes backwards: what comes after a task that heats the CPU, or fills its caches, is not always the same.

    Returns
    -------
    dict
        Task to its results, one a round, in order.
    """
    results: dict[Key, list[Result]] = {key: [] for key in tasks}
    for number in range(rounds):
        order = list(tasks) if number % 2 == 0 else list(tasks)[::-1]
        for key in order:
            results[key].append(tasks[key](number))
    return results


@dataclass(frozen=True)
class Passes:
    """Times of single calls, in seconds.

    Parameters
    ----------
    wall : list of float
        As a clock shows: what a caller waits for, other processes' turns included.
    core : list of float
        Of all this process's threads on a core: what a call costs, whoever else wants the core.
    """

    wall: list[float]
    core: list[float]


def passes(run: Callable[[], object], *, seconds: float) -> Passes:
    """Call it as often as fits into `seconds` on a core, at least three times."""
    wall: list[float] = []
    core: list[float] = []
    while len(core) < _LEAST_PASSES or sum(core) < seconds:
        wall_started, core_started = time.perf_counter(), time.process_time()
        run()
        wall.append(time.perf_counter() - wall_started)
        core.append(time.process_time() - core_started)
    return Passes(wall, core)


def latency_of(seconds: Sequence[float]) -> Latency:
    """Percentiles of the times of single passes."""
    p50, p90, p99 = np.percentile(seconds, (50, 90, 99), method="higher")
    return Latency(float(p50), float(p90), float(p99), len(seconds))


def spread_of(values: Sequence[float]) -> Spread | None:
    """Of one value a round; NaN is a round that found none, and None is the spread of nothing."""
    found = [value for value in values if math.isfinite(value)]
    return Spread(statistics.median(found), min(found), max(found), len(found)) if found else None


def ratio_of(values: Sequence[float], baseline: Sequence[float]) -> Spread | None:
    """Of what each round found for two that ran in it: ``values[i] / baseline[i]``."""
    return spread_of([value / other for value, other in zip(values, baseline, strict=True)])


def linear_fit(images: Sequence[float], seconds: Sequence[float]) -> LinearFit:
    """Least squares over at least two sizes."""
    marginal, fixed = np.polyfit(np.asarray(images, float), np.asarray(seconds, float), 1)
    return LinearFit(float(fixed), float(marginal))


def growth_exponent(images: Sequence[int], seconds: Sequence[float]) -> float:
    """Exponent e of ``seconds = fixed + c * images ** e``: 1 where cost grows linearly.

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
