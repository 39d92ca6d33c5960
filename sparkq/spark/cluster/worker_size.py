"""The size of one Python worker: memory, and seconds an image, measured in a process of its own.

Run as ``python -m sparkq.spark.cluster.worker_size REQUEST.json``, it prints one JSON document.
"""
from __future__ import annotations

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from sparkq.artifact.file import ModelArtifact
from sparkq.config import AUTO, InferenceConfig
from sparkq.engines.cache import BlobCache
from sparkq.engines.node import cpu_features, describe_node, installed_versions
from sparkq.engines.registry import engine_packages
from sparkq.errors import EngineError
from sparkq.planning.partitions import ARROW_BATCH_BYTES
from sparkq.version import __version__
from sparkq.worker.fitting import engine_for

__all__ = ["WorkerMeasurement", "measure_worker"]

_TIMEOUT_SECONDS = 600
_PASSES = 3
_IMAGE_BYTES = 100_000
_LARGE_IMAGE = (4000, 3000)
"""Width and height of one image among them: 12 million pixels, as a phone takes."""


@dataclass(frozen=True)
class WorkerMeasurement:
    """One worker, alone on its node.

    Parameters
    ----------
    engine : str
        What ran.
    batch_size : int
        Images a forward pass.
    images_per_second : float
        Of forward passes alone.
    start_seconds : float
        From the start of the process until the model has answered its golden input.
    resident_bytes : int
        Peak resident memory, while an Arrow batch of 64 MiB was predicted, an image of 12 million pixels in it.
    address_space_bytes : int
        Peak address space, which is what ``spark.executor.pyspark.memory`` limits.
    """

    engine: str
    batch_size: int
    images_per_second: float
    start_seconds: float
    resident_bytes: int
    address_space_bytes: int


def measure_worker(artifact: ModelArtifact, config: InferenceConfig, *, threads: int = 1) -> WorkerMeasurement:
    """Start a process that imports what Spark's worker imports and predicts as a task does. Kept in the node's cache.

    Parameters
    ----------
    artifact : ModelArtifact
        The model.
    config : InferenceConfig
        Engine and batch size, also ``auto``. Nothing is refused for saturation: it is measured, not used.
    threads : int
        ``spark.task.cpus``.

    Raises
    ------
    EngineError
        If the engine does not fit the artifact, or this machine cannot run it.
    """
    engine = config.engine if config.engine == AUTO else engine_for(artifact, config.engine)
    versions = installed_versions(("torch", *engine_packages(), "pyspark", "pyarrow"))
    key = (__version__, cpu_features(), versions, engine, config.batch_size, threads)
    described = hashlib.sha256(artifact.dumps() + repr(key).encode()).hexdigest()
    cache = BlobCache(f"{artifact.digest}-{described}.worker")
    try:
        return WorkerMeasurement(**json.loads(cache.read() or b""))
    except (ValueError, TypeError):
        found = _child(artifact, {"engine": engine, "batch_size": config.batch_size, "threads": threads})
    cache.write(json.dumps(asdict(found)).encode())
    return found


def _child(artifact: ModelArtifact, asked: dict[str, Any]) -> WorkerMeasurement:
    with tempfile.TemporaryDirectory() as folder:
        model, request = os.path.join(folder, "model.sparkq"), os.path.join(folder, "request.json")
        artifact.save(model)
        Path(request).write_text(json.dumps({**asked, "model": model, "started": time.time()}))
        command = [sys.executable, "-m", "sparkq.spark.cluster.worker_size", request]
        environment = {**os.environ, "OMP_NUM_THREADS": str(asked["threads"])}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1].removeprefix("sparkq.errors.EngineError: ")
        raise EngineError(
            f"worker of artifact {artifact.manifest.name!r} on {describe_node()}: expected a process that predicts; got {said}",
            hint="run `sparkq doctor --model FILE.sparkq`: it says what this machine lacks.",
        )
    return WorkerMeasurement(**json.loads(done.stdout.splitlines()[-1]))


def _measure(request: dict[str, Any]) -> WorkerMeasurement:
    # What every worker holds before it has any task.
    import pyspark.worker  # noqa: F401

    from sparkq.worker.predict import predict_partition
    from sparkq.worker.predictor_cache import PredictorKey, cached_predictor

    artifact = ModelArtifact.load(request["model"])
    key = PredictorKey("", request["engine"], request["threads"], True, request["batch_size"])
    predictor = cached_predictor(key, lambda: artifact)
    start_seconds = time.time() - request["started"]
    golden = artifact.manifest.golden.input(artifact.manifest.input_size)
    batches = predict_partition(
        _arrow_batches(golden), predictor=lambda: predictor, image_column="content", config=InferenceConfig(),
    )
    for _ in islice(batches, _PASSES):
        pass
    pixels = golden[None].repeat(predictor.batch_size, axis=0)
    seconds = []
    # On one thread, what this process computes; the clock would count what others do on a busy driver, too.
    clock = time.process_time if request["threads"] == 1 else time.perf_counter
    for _ in range(_PASSES):
        started = clock()
        predictor.engine.run(pixels)
        seconds.append(max(clock() - started, 1e-6))
    return WorkerMeasurement(
        predictor.engine.name, predictor.batch_size, round(predictor.batch_size / median(seconds), 3), round(start_seconds, 3),
        _peak("VmHWM"), _peak("VmPeak"),
    )


def _arrow_batches(golden: Any) -> Iterator[Any]:
    """One Arrow batch as Spark would send it: full of ordinary images, the second of them large."""
    import pyarrow as pa
    from PIL import Image

    image = Image.fromarray(golden)
    ordinary = _jpeg(image).ljust(_IMAGE_BYTES, b"\0")
    rows = [ordinary, _jpeg(image.resize(_LARGE_IMAGE)), *[ordinary] * (ARROW_BATCH_BYTES // _IMAGE_BYTES - 2)]
    yield pa.RecordBatch.from_arrays([pa.array(rows, pa.binary())], names=["content"])


def _jpeg(image: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG")
    return stream.getvalue()


def _peak(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", Path("/proc/self/status").read_text(encoding="utf-8"), re.MULTILINE)
    return int(found.group(1)) * 1024 if found else 0


def main(arguments: Sequence[str]) -> None:
    """Measure in this process and print it."""
    print(json.dumps(asdict(_measure(json.loads(Path(arguments[0]).read_text())))))


if __name__ == "__main__":
    main(sys.argv[1:])
