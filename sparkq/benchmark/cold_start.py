"""The cold start of a worker is measured for each engine in a process of its own: seconds and memory until images are predicted.

Run as ``python -m sparkq.benchmark.cold_start ARTIFACT ENGINE BATCH_SIZE``, it prints one JSON document.
"""
from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sparkq.errors import EngineError

__all__ = ["ColdStart", "measure_cold_start"]

_TIMEOUT_SECONDS = 600


@dataclass(frozen=True)
class ColdStart:
    """The cost of starting one engine in a process with one thread.

    Parameters
    ----------
    engine : str
        The engine's name.
    import_seconds : float
        Time until torch and the modules that predict are imported.
    load_seconds : float
        Time until the artifact is read, checked, loaded and has answered its golden input; an engine that compiles does so
        here.
    warm_load_seconds : float
        The same in the next process of the node, which finds the compiled model of the first one.
    first_batch_seconds : float
        Time of the first full batch.
    resident_mb : float
        Resident memory after three batches, in millions of bytes.
    """

    engine: str
    import_seconds: float
    load_seconds: float
    warm_load_seconds: float
    first_batch_seconds: float
    resident_mb: float


def measure_cold_start(artifact: str, engine: str, *, batch_size: int) -> ColdStart:
    """Measure an engine's cold start in two processes, one after the other, on a node cache of their own.

    Raises
    ------
    EngineError
        If the engine does not run.
    """
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "SPARKQ_CACHE_DIR": cache, "OMP_NUM_THREADS": "1"}
        first, second = (_child(artifact, engine, batch_size, environment) for _ in range(2))
    return ColdStart(**{**first, "warm_load_seconds": second["load_seconds"]})


def _child(artifact: str, engine: str, batch_size: int, environment: dict[str, str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "sparkq.benchmark.cold_start", artifact, engine, str(batch_size)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS)
    if done.returncode:
        raise EngineError(
            f"engine {engine}: expected a process that loads it; got {done.stderr.strip().splitlines()[-1:]}.",
            hint="run `sparkq doctor --model FILE.sparkq` with this engine.",
        )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _measure(artifact_path: str, engine: str, batch_size: int) -> ColdStart:
    started = time.perf_counter()
    import numpy as np

    from sparkq.artifact.file import ModelArtifact
    from sparkq.engines.load import import_engine
    from sparkq.worker.predictor import Predictor

    import_engine(engine)
    imported = time.perf_counter()
    artifact = ModelArtifact.load(artifact_path)
    predictor = Predictor(artifact, engine=engine, threads=1, batch_size=batch_size)
    loaded = time.perf_counter()
    images = np.zeros((batch_size, *artifact.manifest.input_size, 3), np.uint8)
    predictor.engine.run(images)
    first = time.perf_counter()
    for _ in range(2):
        predictor.engine.run(images)
    return ColdStart(engine, imported - started, loaded - imported, loaded - imported, first - loaded, _resident_bytes() / 1e6)


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main(arguments: Sequence[str]) -> None:
    """Measure the cold start of this process and print it."""
    artifact, engine, batch_size = arguments
    print(json.dumps(asdict(_measure(artifact, engine, int(batch_size)))))


if __name__ == "__main__":
    main(sys.argv[1:])
