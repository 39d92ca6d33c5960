"""Every engine is measured on one core, interleaved with the float model as torch runs it eagerly."""
from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from sparkq.artifact.file import ModelArtifact
from sparkq.benchmark.subject import Subject
from sparkq.benchmark.timing import Latency, Passes, Spread, interleaved, latency_of, passes, ratio_of, spread_of
from sparkq.config import PreprocessConfig
from sparkq.engines.registry import int8_engines
from sparkq.errors import SparkqError, last_line
from sparkq.quantization.normalization import normalize
from sparkq.worker.fitting import engines_for
from sparkq.worker.predictor import Predictor

__all__ = ["EAGER", "EngineRow", "fastest_int8", "measure_engines"]

EAGER = "float32 eager"
"""The float model itself, called under ``torch.inference_mode`` on channels-last input, which is faster than contiguous."""

_WARM_PASSES = 3

Images = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class EngineRow:
    """The speed of one engine at one batch size, on one thread.

    Parameters
    ----------
    engine : str
        The engine's name, or `EAGER`.
    batch_size : int
        Images a forward pass.
    error : str, optional
        Why it did not run; all figures are None then.
    images_per_second : Spread, optional
        Speed of one core, one value a round: over the seconds that the process had the core, not those that it waited.
    ratio : Spread, optional
        Images per second over the baseline's in the same round.
    baseline : str, optional
        The engine that `ratio` compares with.
    latency : Latency, optional
        Time of a forward pass, by the clock.
    """

    engine: str
    batch_size: int
    error: str | None = None
    images_per_second: Spread | None = None
    ratio: Spread | None = None
    baseline: str | None = None
    latency: Latency | None = None


def measure_engines(
    subject: Subject, images: Images, *, batch_sizes: Sequence[int], engines: Sequence[str] | None, rounds: int, seconds: float,
) -> list[EngineRow]:
    """Measure every engine that fits the subject's artifacts. Sets torch's threads to one.

    Parameters
    ----------
    subject : Subject
        The model.
    images : ndarray of uint8 [N, H, W, 3]
        Images of the model's input size, repeated to fill a batch.
    batch_sizes : sequence of int
        Each size is measured by itself, its engines interleaved.
    engines : sequence of str, optional
        The engines to measure; the eager model is always measured, where there is one. Default: all that fit.
    rounds : int
        How often each is measured.
    seconds : float
        How long an engine runs in a round, on a core.

    Returns
    -------
    list of EngineRow
        One row an engine and batch size, also where the engine cannot run here.
    """
    torch.set_num_threads(1)
    rows: list[EngineRow] = []
    for batch_size in batch_sizes:
        batch = np.ascontiguousarray(images[np.arange(batch_size) % len(images)])
        rows += _measure_batch(_loaders(subject, engines, batch_size), batch, rounds, seconds)
    return rows


def fastest_int8(rows: Sequence[EngineRow], batch_size: int) -> str | None:
    """Return the INT8 engine with the most images per second at `batch_size`; None if none ran."""
    ran = [
        (row.images_per_second.median, row.engine) for row in rows
        if row.images_per_second is not None and row.batch_size == batch_size and row.engine in int8_engines()
    ]
    return max(ran)[1] if ran else None


def _loaders(
    subject: Subject, engines: Sequence[str] | None, batch_size: int,
) -> dict[str, Callable[[], Callable[[Images], object]]]:
    loaders: dict[str, Callable[[], Callable[[Images], object]]] = {}
    if subject.model is not None:
        loaders[EAGER] = partial(_eager, subject.model, subject.preprocess)
    for artifact in (subject.floating, subject.int8):
        if artifact is None:
            continue
        for engine in engines_for(artifact):
            if engines is None or engine in engines:
                loaders[engine] = partial(_predictor, artifact, engine, batch_size)
    return loaders


def _eager(model: nn.Module, preprocess: PreprocessConfig) -> Callable[[Images], object]:
    def run(images: Images) -> object:
        with torch.inference_mode():
            return model(normalize(torch.from_numpy(images), preprocess))

    return run


def _predictor(artifact: ModelArtifact, engine: str, batch_size: int) -> Callable[[Images], object]:
    return Predictor(artifact, engine=engine, threads=1, batch_size=batch_size).engine.run


def _passes(run: Callable[[Images], object], batch: Images, seconds: float, number: int) -> Passes:
    return passes(lambda: run(batch), seconds=seconds)


def _measure_batch(
    loaders: dict[str, Callable[[], Callable[[Images], object]]], batch: Images, rounds: int, seconds: float,
) -> list[EngineRow]:
    ready: dict[str, Callable[[Images], object]] = {}
    errors: dict[str, str] = {}
    for name, load in loaders.items():
        try:
            run = load()
            for _ in range(_WARM_PASSES):
                run(batch)
            ready[name] = run
        # An engine that meets an operator which it lacks raises RuntimeError in its first pass.
        except (SparkqError, RuntimeError) as error:
            errors[name] = last_line(error)
    times = interleaved({name: partial(_passes, run, batch, seconds) for name, run in ready.items()}, rounds=rounds)
    speeds = {name: [len(batch) / statistics.fmean(one.core) for one in found] for name, found in times.items()}
    baseline = next(iter(speeds), None)
    return [
        EngineRow(name, len(batch), errors[name]) if name in errors or baseline is None else EngineRow(
            name, len(batch), None, spread_of(speeds[name]), ratio_of(speeds[name], speeds[baseline]), baseline,
            latency_of([second for one in times[name] for second in one.wall]),
        )
        for name in loaders
    ]
