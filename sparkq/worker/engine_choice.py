"""Each node finds its fastest engine and batch size: one worker measures them on the golden input, the next ones read that."""
from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

from sparkq.artifact.file import ModelArtifact
from sparkq.artifact.manifest import Manifest
from sparkq.config import AUTO
from sparkq.engines.base import DEFAULT_BATCH_SIZE
from sparkq.engines.cache import BlobCache, cache_directory
from sparkq.engines.node import cpu_features, default_threads, installed_versions, return_freed_memory
from sparkq.engines.private_directory import hold_lock
from sparkq.engines.registry import engine_packages
from sparkq.version import __version__
from sparkq.worker.engine_measuring import EngineMeasuring, Measurement
from sparkq.worker.fitting import engines_for

__all__ = ["EngineChoice", "choose_engine", "settled_batch_size"]


@dataclass(frozen=True)
class EngineChoice:
    """The engine and the batch size that a node chose, with the measurements behind them.

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
        The other engines, and why each is out: not installed, not for this CPU, or outputs off the golden ones.
    from_cache : bool
        Whether another worker of this node had measured.
    """

    engine: str
    batch_size: int
    measurements: tuple[Measurement, ...]
    refused: dict[str, str] = field(default_factory=dict)
    from_cache: bool = False


def settled_batch_size(manifest: Manifest, batch_size: int | str) -> int | str:
    """Return a batch size, with ``auto`` replaced by the default for artifacts with layers in float.

    Predictions of such artifacts are the same at one batch size only.
    """
    return DEFAULT_BATCH_SIZE if batch_size == AUTO and manifest.float_layers else batch_size


def choose_engine(
    artifact: ModelArtifact, *, engine: str = AUTO, batch_size: int | str = AUTO, threads: int | None = None,
    allow_saturation: bool = False,
) -> EngineChoice:
    """Measure which engine and batch size are fastest here, or read what this node has measured before.

    Of several workers that start at once on a node, one measures and the others wait for it. Results are kept in the
    node's cache directory, by all that they depend on: the artifact, the CPU, torch, the packages of engines, threads.
    On a worker.

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
    engines = engines_for(artifact) if engine == AUTO else (engine,)
    batch_size = settled_batch_size(artifact.manifest, batch_size)
    cache = BlobCache(_cache_name(artifact, engines, batch_size, threads, allow_saturation))
    with _measured_by_one():
        kept = _read(cache)
        if kept is not None:
            return kept
        choice = _measured(artifact, engines, batch_size, threads, allow_saturation)
        cache.write(json.dumps(asdict(choice)).encode())
    return_freed_memory()
    return choice


def _measured(
    artifact: ModelArtifact, engines: tuple[str, ...], batch_size: int | str, threads: int | None, allow_saturation: bool,
) -> EngineChoice:
    measuring = EngineMeasuring(artifact, threads, allow_saturation)
    best = measuring.fastest(engines, None if batch_size == AUTO else int(batch_size))
    refused = {engine: str(error) for engine, error in measuring.refused.items()}
    return EngineChoice(best.engine, best.batch_size, tuple(measuring.measurements), refused)


def _cache_name(
    artifact: ModelArtifact, engines: tuple[str, ...], batch_size: int | str, threads: int | None, allow_saturation: bool,
) -> str:
    golden = artifact.manifest.golden
    described = hashlib.sha256(golden.pixels.tobytes() + golden.output.tobytes())
    versions = installed_versions(("torch", *engine_packages()))
    node = (__version__, cpu_features(), versions, threads or default_threads())
    described.update(repr((engines, batch_size, allow_saturation, node)).encode())
    return f"{artifact.digest}-{described.hexdigest()}.choice"


@contextlib.contextmanager
def _measured_by_one() -> Iterator[None]:
    """Let one process of the node in at a time; where the cache directory cannot hold a lock, let all of them in."""
    with contextlib.ExitStack() as held:
        directory = cache_directory()
        if directory is not None:
            with contextlib.suppress(OSError):
                held.enter_context(hold_lock(directory, "engine_choice.lock"))
        yield


def _read(cache: BlobCache) -> EngineChoice | None:
    """Return the choice in the cache, or None if it holds none that this version writes."""
    try:
        kept = json.loads(cache.read() or b"")
        measurements = tuple(Measurement(**measurement) for measurement in kept["measurements"])
        choice = EngineChoice(kept["engine"], int(kept["batch_size"]), measurements, dict(kept["refused"]), from_cache=True)
    except (ValueError, TypeError, KeyError):
        return None
    return choice
