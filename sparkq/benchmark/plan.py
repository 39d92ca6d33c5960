"""A benchmark's plan: the parts to measure, how often, and with what."""
from __future__ import annotations

from dataclasses import dataclass

from sparkq.benchmark.prices import PriceList

__all__ = ["PARTS", "Plan"]

PARTS = ("engine", "pipeline", "job", "scale", "cost")
"""The parts of a benchmark, in the order in which they run."""


@dataclass(frozen=True)
class Plan:
    """The measurements of one benchmark, and how often each is made.

    Parameters
    ----------
    parts : tuple of str
        The parts to measure, of `PARTS`.
    batch_sizes : tuple of int
        Images a forward pass in part ``engine``.
    engines : tuple of str, optional
        Only these in part ``engine``.
    engine : str, optional
        What runs the pipeline and the jobs; default: the fastest INT8 engine of part ``engine``.
    batch_size : int
        Images a forward pass in the pipeline and the jobs.
    images : int
        1x: images of the smallest measured job.
    cores : int
        N of ``local[N]``.
    rounds, job_rounds : int
        Interleaved rounds of part ``engine``; of the other parts, each round of which starts a process a variant.
    seconds : float
        How long an engine runs in a round.
    prices : PriceList, optional
        Prices of instances, for part ``cost``.
    profile : str, optional
        Folder for traces.
    """

    parts: tuple[str, ...]
    batch_sizes: tuple[int, ...]
    engines: tuple[str, ...] | None
    engine: str | None
    batch_size: int
    images: int
    cores: int
    rounds: int
    job_rounds: int
    seconds: float
    prices: PriceList | None = None
    profile: str | None = None
