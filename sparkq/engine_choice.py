"""Which engine and which batch size are fastest on this node: measured once on the golden input, kept for the next worker."""
from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.metadata
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from statistics import median

import numpy as np
import numpy.typing as npt
import torch

from sparkq.artifact import ModelArtifact
from sparkq.config import AUTO
from sparkq.engines import fitting_engines
from sparkq.engines.base import DEFAULT_BATCH_SIZE
from sparkq.engines.blob_cache import BlobCache, cache_directory
from sparkq.errors import EngineError
from sparkq.manifest import Manifest
from sparkq.node import cpu_features, describe_node, return_freed_memory
from sparkq.predictor import Predictor
from sparkq.version import __version__

__all__ = ["EngineChoice", "Measurement", "choose_engine", "settled_batch_size", "smallest_near_best"]

_BATCH_SIZES = (1, 4, 8, 16, 32)
_NEAR_BEST = 0.97
_FEW_IMAGES, _LONG_COMPARISON_SECONDS = 4, 0.15
"""Engines of a model whose whole batch takes longer are compared on a few images."""
_ENOUGH_SECONDS = 0.25
_LEAST_PASSES, _MOST_PASSES = 3, 30
_LONGEST_PASS_SECONDS = 0.5
"""A pass that takes so long has nothing to gain from a larger batch."""

_logger = logging.getLogger("sparkq.worker")


@dataclass(frozen=True)
class Measurement:
    """How fast one engine ran on this node, at one batch size.

    Parameters
    ----------
    engine : str
        Engine name.
    batch_size : int
        Images a forward pass.
    images_per_second : float
        Of forward passes alone, by one worker.
    """

    engine: str
    batch_size: int
    images_per_second: float


@dataclass(frozen=True)
class EngineChoice:
    """What was chosen, and why.

    Parameters
    ----------
    engine : str
        The fastest.
    batch_size : int
        The one asked for, or the smallest within 3 % of the best.
    measurements : tuple of Measurement
        Every engine that runs the artifact rightly; then the batch sizes of the fastest. Figures are ratios of interleaved
        runs, put on one scale: the first engine's images per second.
    refused : dict of str to str
        Engine to why it is out: not installed, not for this CPU, or outputs off the golden ones.
    from_cache : bool
        Whether another worker of this node had measured.
    """

    engine: str
    batch_size: int
    measurements: tuple[Measurement, ...]
    refused: dict[str, str] = field(default_factory=dict)
    from_cache: bool = False


def settled_batch_size(manifest: Manifest, batch_size: int | str) -> int | str:
    """``auto`` becomes the default for artifacts with layers in float: their predictions are the same at one batch size only."""
    return DEFAULT_BATCH_SIZE if batch_size == AUTO and manifest.float_layers else batch_size


def choose_engine(
    artifact: ModelArtifact, *, engine: str = AUTO, batch_size: int | str = AUTO, threads: int | None = None,
    allow_saturation: bool = False,
) -> EngineChoice:
    """Measure which engine and batch size are fastest here, or read what this node has measured before.

    Of several workers that start at once on a node, one measures and the others wait for it. Results are kept in the
    node's cache directory, by all that they depend on: the artifact, the CPU, torch and openvino, threads. On a worker.

    Parameters
    ----------
    artifact : ModelArtifact
        Its recipe says which engines fit, its golden output which of them are right.
    engine : str
        ``auto``, or the only one to measure batch sizes of.
    batch_size : int or str
        Images a forward pass; ``auto`` finds the smallest within 3 % of the best.
    threads, allow_saturation
        As for `Predictor`.

    Raises
    ------
    EngineError
        If no engine runs the artifact rightly on this node.
    """
    engines = fitting_engines(artifact.manifest.quantization.recipe) if engine == AUTO else (engine,)
    batch_size = settled_batch_size(artifact.manifest, batch_size)
    cache = BlobCache(_cache_name(artifact, engines, batch_size, threads, allow_saturation))
    with _measured_by_one():
        kept = _read(cache)
        if kept is not None:
            return kept
        choice = _Measuring(artifact, threads, allow_saturation).choose(engines, batch_size)
        cache.write(json.dumps(asdict(choice)).encode())
    return_freed_memory()
    return choice


def _cache_name(
    artifact: ModelArtifact, engines: tuple[str, ...], batch_size: int | str, threads: int | None, allow_saturation: bool,
) -> str:
    golden = artifact.manifest.golden
    described = hashlib.sha256(golden.pixels.tobytes() + golden.output.tobytes())
    node = (__version__, cpu_features(), torch.__version__, _version("openvino"), threads or torch.get_num_threads())
    described.update(repr((engines, batch_size, allow_saturation, node)).encode())
    return f"{artifact.digest[:16]}-{described.hexdigest()[:16]}.choice"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


@contextlib.contextmanager
def _measured_by_one() -> Iterator[None]:
    """One process of the node at a time; where the cache directory cannot hold a lock, each for itself."""
    with contextlib.ExitStack() as held:
        directory = cache_directory()
        if directory is not None:
            with contextlib.suppress(OSError):
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                # The operating system frees it when its process ends, however it ends.
                lock = held.enter_context(open(directory / "engine_choice.lock", "w", encoding="utf-8"))
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _read(cache: BlobCache) -> EngineChoice | None:
    """What is in the cache, if it is what this version writes."""
    try:
        kept = json.loads(cache.read() or b"")
        measurements = tuple(Measurement(**measurement) for measurement in kept["measurements"])
        choice = EngineChoice(kept["engine"], int(kept["batch_size"]), measurements, dict(kept["refused"]), from_cache=True)
    except (ValueError, TypeError, KeyError):
        return None
    return choice


class _Measuring:
    """One measurement. At most two engines are loaded at a time."""

    def __init__(self, artifact: ModelArtifact, threads: int | None, allow_saturation: bool) -> None:
        self._artifact = artifact
        self._load = partial(Predictor, artifact, threads=threads, allow_saturation=allow_saturation)
        self._refused: dict[str, EngineError] = {}
        self._rates: dict[tuple[str, int], float] = {}

    def choose(self, engines: tuple[str, ...], batch_size: int | str) -> EngineChoice:
        wanted = DEFAULT_BATCH_SIZE if batch_size == AUTO else int(batch_size)
        fastest = self._fastest(engines, self._compared_at(engines, wanted))
        if batch_size == AUTO:
            self._measure_sizes(fastest)
            sizes = {size: rate for (engine, size), rate in self._rates.items() if engine == fastest.engine.name}
            batch_size = smallest_near_best(sizes)
        return EngineChoice(
            fastest.engine.name, int(batch_size),
            tuple(Measurement(engine, size, round(rate, 3)) for (engine, size), rate in self._rates.items()),
            {engine: str(error) for engine, error in self._refused.items()},
        )

    def _compared_at(self, engines: tuple[str, ...], wanted: int) -> int:
        few = min(_FEW_IMAGES, wanted)
        for engine in engines:
            loaded = self._loaded(engine, few)
            if loaded is not None:
                return wanted if wanted / _images_per_second(loaded, self._images(few)) < _LONG_COMPARISON_SECONDS else few
        raise self._nothing_runs()

    def _fastest(self, engines: tuple[str, ...], batch_size: int) -> Predictor:
        champion: Predictor | None = None
        for engine in engines:
            challenger = self._loaded(engine, batch_size)
            if challenger is None:
                continue
            name = (challenger.engine.name, batch_size)
            if champion is None:
                champion = challenger
                self._rates[name] = _images_per_second(challenger, self._images(batch_size))
                continue
            ratio = self._ratio(challenger, champion)
            self._rates[name] = self._rates[champion.engine.name, batch_size] * ratio
            champion = challenger if ratio > 1 else champion
            # The slower one goes before the next is loaded.
            del challenger
            return_freed_memory()
        if champion is None:
            raise self._nothing_runs()
        return champion

    def _loaded(self, engine: str, batch_size: int) -> Predictor | None:
        try:
            return self._load(engine=engine, batch_size=batch_size)
        except EngineError as error:
            self._refused[engine] = error
        # What torch and OpenVINO raise where an operator or an instruction set is missing.
        except RuntimeError as error:
            self._refused[engine] = EngineError(
                f"engine {engine} on {describe_node()}: expected to load artifact {self._artifact.manifest.name!r}; got "
                f"{(str(error).strip() or type(error).__name__).splitlines()[-1][:200]}.",
            )
        return None

    def _nothing_runs(self) -> EngineError:
        errors = list(self._refused.values())
        if len({error.message for error in errors}) == 1:
            return errors[0]
        reasons = "; ".join(f"{engine}: {error.message.rstrip('.')}" for engine, error in self._refused.items())
        return EngineError(
            f"engine auto on {describe_node()}: expected an engine that runs artifact {self._artifact.manifest.name!r}; got "
            f"none ({reasons}).",
            hint="take this node out of the cluster, or quantize again.",
        )

    def _measure_sizes(self, champion: Predictor) -> None:
        engine = champion.engine.name
        rate = self._rates[engine, champion.batch_size]
        for size in _BATCH_SIZES:
            if size == champion.batch_size or (size > champion.batch_size and size / rate > _LONGEST_PASS_SECONDS):
                continue
            challenger = self._loaded(engine, size)
            if challenger is not None:
                self._rates[engine, size] = rate * self._ratio(challenger, champion)

    def _ratio(self, challenger: Predictor, champion: Predictor) -> float:
        """Images per second of the one over those of the other, from interleaved passes."""
        both = [(predictor, self._images(predictor.batch_size)) for predictor in (challenger, champion)]
        seconds: tuple[list[float], list[float]] = ([], [])
        # The first pass of a graph is slow: it is optimized and allocates.
        for predictor, images in both:
            predictor.engine.run(images)
        while len(seconds[0]) < _LEAST_PASSES or (sum(map(sum, seconds)) < _ENOUGH_SECONDS and len(seconds[0]) < _MOST_PASSES):
            for taken, (predictor, images) in zip(seconds, both, strict=True):
                taken.append(_seconds_a_pass(predictor, images))
        return challenger.batch_size / median(seconds[0]) / (champion.batch_size / median(seconds[1]))

    def _images(self, count: int) -> npt.NDArray[np.uint8]:
        manifest = self._artifact.manifest
        return np.repeat(manifest.golden.input(manifest.input_size)[np.newaxis], count, axis=0)


def _images_per_second(predictor: Predictor, images: npt.NDArray[np.uint8]) -> float:
    predictor.engine.run(images)
    return len(images) / median(_seconds_a_pass(predictor, images) for _ in range(_LEAST_PASSES))


def _seconds_a_pass(predictor: Predictor, images: npt.NDArray[np.uint8]) -> float:
    started = time.perf_counter()
    predictor.engine.run(images)
    return max(time.perf_counter() - started, 1e-9)


def smallest_near_best(rates: dict[int, float]) -> int:
    """The smallest batch size whose images per second are within 3 % of the best; `rates` by batch size."""
    best = max(rates.values())
    return min(size for size, rate in rates.items() if rate >= _NEAR_BEST * best)
