"""Growth of a job's cost with its images, and of its speed with cores."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from sparkq.benchmark.job import SPARKQ, Jobs, marginal_speed
from sparkq.benchmark.timing import Spread, growth_exponent, interleaved, ratio_of, spread_of

__all__ = ["ScaleRow", "measure_scale", "steps_of_cores"]


@dataclass(frozen=True)
class ScaleRow:
    """The speed of sparkq on ``local[cores]``.

    Parameters
    ----------
    cores : int
        N.
    images : tuple of int
        Sizes of the jobs, smallest first.
    seconds : tuple of Spread
        Times of the jobs in warm workers.
    images_per_second : Spread
        Marginal speed.
    speedup : Spread
        Speed over that of one core, round by round.
    exponent : Spread
        Exponent of ``seconds - fixed ~ images ** exponent``, with the smallest job as the fixed cost: 1 is linear. None, as the
        other figures, where larger jobs took no longer: they were too small.
    """

    cores: int
    images: tuple[int, ...]
    seconds: tuple[Spread | None, ...]
    images_per_second: Spread | None
    speedup: Spread | None
    exponent: Spread | None


def steps_of_cores(cores: int) -> list[int]:
    """Return 1, 2, 4 ... and `cores` itself."""
    steps = []
    step = 1
    while step < cores:
        steps.append(step)
        step *= 2
    return [*steps, cores]


def measure_scale(jobs: Jobs, *, cores: Sequence[int], rounds: int) -> list[ScaleRow]:
    """Run sparkq at every number of cores, the first of which is the baseline.

    Raises
    ------
    EngineError
        If a job failed.
    """
    found = interleaved({count: partial(jobs.times, SPARKQ, count) for count in cores}, rounds=rounds)
    speeds = {count: [marginal_speed(times) for times in runs] for count, runs in found.items()}
    rows = []
    for count, runs in found.items():
        order = sorted(range(len(runs[0].images)), key=lambda index: runs[0].images[index])
        images = tuple(runs[0].images[index] for index in order)
        seconds = [[times.seconds[index] for index in order] for times in runs]
        rows.append(ScaleRow(
            count, images, tuple(spread_of([one[index] for one in seconds]) for index in range(len(images))),
            spread_of(speeds[count]), ratio_of(speeds[count], speeds[cores[0]]),
            spread_of([growth_exponent(images, one) for one in seconds]),
        ))
    return rows
