"""One whole job runs in a process and a session of its own and is timed: the unit that the benchmark compares.

Run as ``python -m sparkq.spark.benchmark.job_process REQUEST.json RESULT.json``. Each variant has a fresh process: no worker, no
model and no JVM that another one warmed up.
"""
from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow.dataset
from pyspark.sql import DataFrame, SparkSession

from sparkq.artifact.file import ModelArtifact
from sparkq.config import InferenceConfig
from sparkq.config.parsing import parse_config
from sparkq.errors import InputError
from sparkq.spark.benchmark.delayed import predict_delayed
from sparkq.spark.benchmark.peers import map_in_arrow, predict_batch
from sparkq.spark.benchmark.profiling import predict_profiled
from sparkq.spark.input.sources import count_images, find_images
from sparkq.spark.input.worker_reads import choose_reads
from sparkq.spark.output.write import write_predictions
from sparkq.spark.predict.inference import predict
from sparkq.spark.predict.planning import with_planned_partitions
from sparkq.spark.session.session import session_for

__all__ = ["JobRequest", "JobTimes", "answer_request", "run_job"]

_DELAY_SECONDS = 0.05


@dataclass(frozen=True)
class JobRequest:
    """The job that a process is asked to run.

    Parameters
    ----------
    variant : str
        ``sparkq``, ``profiled`` (the same, under profilers), ``sparkq_50ms_reads`` (the same, with latency), or a peer:
        ``predict_batch_udf``, ``mapInArrow``.
    artifact : str
        The model, INT8 for ``mapInArrow``; it also says how images are preprocessed.
    engine, peer_engine : str
        The engine that runs it in sparkq, and in ``mapInArrow``.
    batch_size : int
        Images a forward pass.
    cores : int
        N of ``local[N]``.
    folders : tuple of str
        Images: the first folder is run cold, then each in turn.
    output : str
        A folder for the Parquet files.
    started : float
        Unix time at which the process was started.
    float_spec, float_weights : str, optional
        The float model of ``predict_batch_udf``.
    profile : str, optional
        Folder for the traces of ``profiled``.
    """

    variant: str
    artifact: str
    engine: str
    peer_engine: str
    batch_size: int
    cores: int
    folders: tuple[str, ...]
    output: str
    started: float
    float_spec: str | None = None
    float_weights: str | None = None
    profile: str | None = None


@dataclass(frozen=True)
class JobTimes:
    """The seconds that a job took.

    Parameters
    ----------
    start_seconds : float
        Time from the start of the process until there is a session.
    cold_seconds : float
        Time of the first job, whose workers start and load the model.
    images : tuple of int
        Rows that each of the jobs that followed wrote.
    seconds : tuple of float
        Time of each of them, from listing the images to the commit.
    """

    start_seconds: float
    cold_seconds: float
    images: tuple[int, ...]
    seconds: tuple[float, ...]


def run_job(request: JobRequest) -> JobTimes:
    """Run a job in this process.

    Raises
    ------
    InputError
        If a job wrote another number of rows than there are images.
    """
    with session_for(f"local[{request.cores}]") as spark:
        start_seconds = time.time() - request.started
        job = _VARIANTS[request.variant]
        cold_seconds, _ = _timed(job, spark, request, request.folders[0], "cold")
        timed = [_timed(job, spark, request, folder, str(number)) for number, folder in enumerate(request.folders)]
    return JobTimes(start_seconds, cold_seconds, tuple(rows for _, rows in timed), tuple(seconds for seconds, _ in timed))


Job = Callable[[SparkSession, JobRequest, str, str], None]


def _timed(job: Job, spark: SparkSession, request: JobRequest, folder: str, name: str) -> tuple[float, int]:
    output = str(Path(request.output) / name)
    started = time.perf_counter()
    job(spark, request, folder, output)
    seconds = time.perf_counter() - started
    rows = pyarrow.dataset.dataset(output, format="parquet").count_rows()
    expected = sum(1 for _ in Path(folder).iterdir())
    if rows != expected:
        raise InputError(
            f"benchmark of {request.variant}: expected {expected} rows, one an image; got {rows}.",
            hint="report it with the benchmark's options.",
        )
    return seconds, rows


def _planned(spark: SparkSession, request: JobRequest, folder: str, *, read: str = "auto") -> tuple[DataFrame, InferenceConfig]:
    """Read images as `sparkq predict` does, in tasks for an ordinary model: none is measured on the driver first."""
    config = InferenceConfig(engine=request.engine, batch_size=request.batch_size)
    images, config = choose_reads(find_images(spark, folder), config, read=read)
    return with_planned_partitions(images, images=count_images(images, folder)), config


def _sparkq(spark: SparkSession, request: JobRequest, folder: str, output: str) -> None:
    images, config = _planned(spark, request, folder)
    write_predictions(predict(images, ModelArtifact.load(request.artifact), config=config), output)


def _delayed(spark: SparkSession, request: JobRequest, folder: str, output: str) -> None:
    images, config = _planned(spark, request, folder, read="workers")
    artifact = ModelArtifact.load(request.artifact)
    write_predictions(predict_delayed(images, artifact, config=config, seconds=_DELAY_SECONDS), output)


def _profiled(spark: SparkSession, request: JobRequest, folder: str, output: str) -> None:
    images, config = _planned(spark, request, folder)
    artifact, profile = ModelArtifact.load(request.artifact), str(request.profile)
    write_predictions(predict_profiled(images, artifact, profile, config=config), output)


def _files(spark: SparkSession, folder: str, cores: int) -> DataFrame:
    # Spark's own packing makes a task of 31 images, as authors of such jobs find out. No listing twice, no empty files.
    return spark.read.format("binaryFile").load(folder).select("path", "content").coalesce(2 * cores)


def _predict_batch_udf(spark: SparkSession, request: JobRequest, folder: str, output: str) -> None:
    preprocess = ModelArtifact.load(request.artifact).manifest.preprocess
    classify = predict_batch(str(request.float_spec), request.float_weights, preprocess, batch_size=request.batch_size)
    _files(spark, folder, request.cores).select("path", classify("content").alias("prediction")).write.parquet(output)


def _map_in_arrow(spark: SparkSession, request: JobRequest, folder: str, output: str) -> None:
    files = _files(spark, folder, request.cores)
    map_in_arrow(files, request.artifact, request.peer_engine, batch_size=request.batch_size).write.parquet(output)


_VARIANTS: dict[str, Job] = {
    "sparkq": _sparkq, "sparkq_50ms_reads": _delayed, "profiled": _profiled,
    "predict_batch_udf": _predict_batch_udf, "mapInArrow": _map_in_arrow,
}


def answer_request(arguments: Sequence[str], run: Callable[[JobRequest], JobTimes]) -> None:
    """Read a request from one file, run it, and write its times to another; `arguments` are the two paths."""
    request_path, result_path = arguments
    request = parse_config(JobRequest, json.loads(Path(request_path).read_text()), place=request_path)
    Path(result_path).write_text(json.dumps(asdict(run(request))))


if __name__ == "__main__":
    answer_request(sys.argv[1:], run_job)
