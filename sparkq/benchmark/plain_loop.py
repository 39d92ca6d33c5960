"""Plain Python loops decode and predict in as many processes as the job has workers: no job can be faster.

Run as ``python -m sparkq.benchmark.plain_loop REQUEST.json RESULT.json``, as `sparkq.spark.benchmark.job_process` is. It reads
the same files with the same decoder and engine, and neither keeps nor writes anything.
"""
from __future__ import annotations

import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from sparkq.artifact.file import ModelArtifact
from sparkq.images.preprocess import preprocess_content
from sparkq.spark.benchmark.job_process import JobRequest, JobTimes, answer_request
from sparkq.worker.predictor import Predictor

__all__ = ["run_loops"]

_loaded: list[Predictor] = []


def run_loops(request: JobRequest) -> JobTimes:
    """Time the loops over each folder of `request`; its processes stay, as Spark's workers do."""
    context = multiprocessing.get_context("spawn")
    start_seconds = time.time() - request.started
    with ProcessPoolExecutor(
        request.cores, mp_context=context, initializer=_load, initargs=(request.artifact, request.engine, request.batch_size),
    ) as processes:
        cold_seconds, _ = _timed(processes, request, request.folders[0])
        timed = [_timed(processes, request, folder) for folder in request.folders]
    return JobTimes(start_seconds, cold_seconds, tuple(images for _, images in timed), tuple(seconds for seconds, _ in timed))


def _timed(processes: ProcessPoolExecutor, request: JobRequest, folder: str) -> tuple[float, int]:
    started = time.perf_counter()
    paths = sorted(str(path) for path in Path(folder).iterdir())
    done = list(processes.map(_loop, [paths[first::request.cores] for first in range(request.cores)]))
    return time.perf_counter() - started, sum(done)


def _load(artifact: str, engine: str, batch_size: int) -> None:
    _loaded.append(Predictor(ModelArtifact.load(artifact), engine=engine, threads=1, batch_size=batch_size))


def _loop(paths: list[str]) -> int:
    predictor = _loaded[0]
    preprocess = predictor.manifest.preprocess
    images = 0
    for start in range(0, len(paths), predictor.batch_size):
        chosen = paths[start:start + predictor.batch_size]
        pixels = np.empty((len(chosen), *preprocess.input_size, 3), np.uint8)
        for row, path in enumerate(chosen):
            with open(path, "rb") as stream:
                pixels[row] = preprocess_content(stream.read(), preprocess)
        images += len(predictor.engine.run(pixels))
    return images


if __name__ == "__main__":
    answer_request(sys.argv[1:], run_loops)
