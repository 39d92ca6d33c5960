"""The speed of engines and batch sizes on this node is measured by running an artifact's golden input."""
from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from sparkq.artifact.file import ModelArtifact
from sparkq.engines.base import DEFAULT_BATCH_SIZE
from sparkq.engines.node import default_threads, describe_node, return_freed_memory
from sparkq.engines.registry import spec_of
from sparkq.errors import EngineError, last_line
from sparkq.worker.predictor import Predictor

__all__ = ["EngineMeasuring", "Measurement", "smallest_near_best"]

_BATCH_SIZES = (1, 4, 8, 16, 32)
_NEAR_BEST = 0.97
_FEW_IMAGES, _LONG_COMPARISON_SECONDS = 4, 0.15
"""Engines of a model whose whole batch takes longer are compared on a few images."""
_ENOUGH_SECONDS = 0.25
_LEAST_PASSES, _MOST_PASSES = 3, 30
_LONGEST_PASS_SECONDS = 0.5
"""A pass that takes so long has nothing to gain from a larger batch."""


@dataclass(frozen=True)
class Measurement:
    """The speed of one engine at one batch size on this node.

    Parameters
    ----------
    engine : str
        Engine name.
    batch_size : int
        Images a forward pass.
    images_per_second : float
        Speed of forward passes alone, in one worker.
    """

    engine: str
    batch_size: int
    images_per_second: float


class EngineMeasuring:
    """A comparison of engines and batch sizes, with at most two engines loaded at a time. On a worker.

    Parameters
    ----------
    artifact : ModelArtifact
        The model; its golden input is run.
    threads, allow_saturation
        As for `Predictor`.

    Attributes
    ----------
    measurements : list of Measurement
        Speeds of all engines that run the artifact rightly, at one batch size; then of the fastest at other batch sizes.
    refused : dict of str to EngineError
        The other engines, and why each is out.
    """

    def __init__(self, artifact: ModelArtifact, threads: int | None, allow_saturation: bool) -> None:
        self.measurements: list[Measurement] = []
        self.refused: dict[str, EngineError] = {}
        self._name = artifact.manifest.name
        self._golden = artifact.manifest.golden.input(artifact.manifest.input_size)
        # Alone in its process on one thread, a pass takes as long as its CPU time; the clock would count other workers, too.
        self._clock = time.process_time if (threads or default_threads()) == 1 else time.perf_counter
        self._load = partial(Predictor, artifact, threads=threads, allow_saturation=allow_saturation)

    def fastest(self, engines: tuple[str, ...], batch_size: int | None) -> Measurement:
        """Find the fastest engine, at `batch_size` or, if that is None, at the smallest size within 3 % of the best.

        Raises
        ------
        EngineError
            If no engine runs.
        """
        compared_at = self._compared_at(engines, batch_size or DEFAULT_BATCH_SIZE)
        best = self._compare(engines, compared_at)
        return self._best_size(best) if batch_size is None else Measurement(best.engine, batch_size, best.images_per_second)

    def _compared_at(self, engines: tuple[str, ...], wanted: int) -> int:
        few = min(_FEW_IMAGES, wanted)
        for engine in engines if wanted > few else ():
            # An engine that loads fast says how long a pass takes.
            loaded = None if spec_of(engine).static_batch and len(engines) > 1 else self._loaded(engine, few)
            if loaded is not None:
                return wanted if wanted * self._seconds(loaded, few) / few < _LONG_COMPARISON_SECONDS else few
        return few

    def _compare(self, engines: tuple[str, ...], batch_size: int) -> Measurement:
        champion: Predictor | None = None
        rate = 0.0
        # A compiled engine takes most memory while it loads, so it comes first, alone.
        for engine in sorted(engines, key=lambda name: not spec_of(name).static_batch):
            challenger = self._loaded(engine, batch_size)
            if challenger is None:
                continue
            if champion is None:
                challenger_rate = batch_size / self._seconds(challenger, batch_size)
            else:
                challenger_rate = rate * self._ratio(challenger, batch_size, champion, batch_size)
            self._note(engine, batch_size, challenger_rate)
            if challenger_rate > rate:
                champion, rate = challenger, challenger_rate
            # The slower one goes before the next is loaded.
            del challenger
            return_freed_memory()
        if champion is None:
            raise self._nothing_runs()
        return Measurement(champion.engine.name, batch_size, rate)

    def _best_size(self, known: Measurement) -> Measurement:
        """Measure sizes upward, until one beyond the size of the comparison gains little over those before it."""
        rates: dict[int, float] = {}
        for size, rate in self._rates_by_size(known):
            near = bool(rates) and _NEAR_BEST * rate < max(rates.values())
            rates[size] = rate
            if size != known.batch_size:
                self._note(known.engine, size, rate)
            if near and size >= known.batch_size:
                break
        size = smallest_near_best(rates)
        return Measurement(known.engine, size, rates[size])

    def _rates_by_size(self, known: Measurement) -> Iterator[tuple[int, float]]:
        base, speed = known.batch_size, known.images_per_second
        sizes = [size for size in sorted({base, *_BATCH_SIZES}) if size <= base or size / speed <= _LONGEST_PASS_SECONDS]
        loaded: Predictor | None = None
        for size in sizes:
            if size == base:
                yield size, speed
                continue
            if loaded is None or spec_of(known.engine).static_batch:
                # Two compiled models at once take more memory than a worker may.
                loaded = None
                return_freed_memory()
                loaded = self._loaded(known.engine, size)
            if loaded is not None:
                yield size, size / self._seconds(loaded, size)

    def _note(self, engine: str, batch_size: int, rate: float) -> None:
        self.measurements.append(Measurement(engine, batch_size, round(rate, 3)))

    def _loaded(self, engine: str, batch_size: int) -> Predictor | None:
        try:
            return self._load(engine=engine, batch_size=batch_size)
        except EngineError as error:
            self.refused[engine] = error
        # Engines raise it where an operator or an instruction set is missing.
        except RuntimeError as error:
            self.refused[engine] = EngineError(
                f"engine {engine} on {describe_node()}: expected to load artifact {self._name!r}; got "
                f"{last_line(error)[:200]}.",
                hint="take another engine, or `auto`.",
            )
        return None

    def _nothing_runs(self) -> EngineError:
        errors = list(self.refused.values())
        if len({error.message for error in errors}) == 1:
            return errors[0]
        reasons = "; ".join(f"{engine}: {error.message.rstrip('.')}" for engine, error in self.refused.items())
        return EngineError(
            f"engine auto on {describe_node()}: expected an engine that runs artifact {self._name!r}; got none ({reasons}).",
            hint="take this node out of the cluster, or quantize again.",
        )

    def _ratio(self, challenger: Predictor, size: int, champion: Predictor, champion_size: int) -> float:
        """Return images per second of the challenger over those of the champion, from interleaved passes."""
        both = [(challenger, self._images(size)), (champion, self._images(champion_size))]
        seconds: tuple[list[float], list[float]] = ([], [])
        # The first pass of a graph is slow: it is optimized and allocates.
        for predictor, images in both:
            predictor.engine.run(images)
        while len(seconds[0]) < _LEAST_PASSES or (sum(map(sum, seconds)) < _ENOUGH_SECONDS and len(seconds[0]) < _MOST_PASSES):
            for taken, (predictor, images) in zip(seconds, both, strict=True):
                taken.append(self._pass(predictor, images))
        return size / min(seconds[0]) / (champion_size / min(seconds[1]))

    def _seconds(self, predictor: Predictor, size: int) -> float:
        images = self._images(size)
        predictor.engine.run(images)
        return min(self._pass(predictor, images) for _ in range(_LEAST_PASSES))

    def _pass(self, predictor: Predictor, images: npt.NDArray[np.uint8]) -> float:
        started = self._clock()
        predictor.engine.run(images)
        return max(self._clock() - started, 1e-9)

    def _images(self, count: int) -> npt.NDArray[np.uint8]:
        return np.repeat(self._golden[np.newaxis], count, axis=0)


def smallest_near_best(rates: dict[int, float]) -> int:
    """Return the smallest batch size whose images per second are within 3 % of the best; `rates` is by batch size."""
    best = max(rates.values())
    return min(size for size, rate in rates.items() if rate >= _NEAR_BEST * best)
