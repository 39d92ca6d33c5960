"""The time of one image is measured by step: decode, preprocess, inference, and the rest, which Spark adds."""
from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sparkq.artifact.file import ModelArtifact
from sparkq.benchmark.job import SPARKQ, Jobs, marginal_speed
from sparkq.benchmark.timing import Spread, interleaved, ratio_of, spread_of
from sparkq.config import PreprocessConfig
from sparkq.images.decode import open_image
from sparkq.images.preprocess import preprocess_content
from sparkq.worker.predictor import Predictor

__all__ = ["STAGES", "Stage", "measure_pipeline", "preprocessed"]

STAGES = ("decode", "preprocess", "inference", "spark")


@dataclass(frozen=True)
class Stage:
    """The cost of one step on one core.

    Parameters
    ----------
    stage : str
        One of `STAGES`.
    milliseconds : Spread
        Time of an image on a core. ``spark`` is the time that an image takes longer in a job on ``local[1]``, by the clock, than
        in the other three together: reading files, Arrow, rows, Parquet, and waiting for a busy machine. It is negative where
        Spark's JVM, on another core, does more at once than it adds.
    share : Spread
        Share of an image's whole time in the job.
    """

    stage: str
    milliseconds: Spread | None
    share: Spread | None


def preprocessed(contents: Sequence[bytes], preprocess: PreprocessConfig) -> npt.NDArray[np.uint8]:
    """Decode, resize and crop encoded images: uint8 [N, H, W, 3]."""
    return np.stack([preprocess_content(content, preprocess) for content in contents])


def measure_pipeline(
    artifact: ModelArtifact, contents: Sequence[bytes], jobs: Jobs, *, engine: str, batch_size: int, rounds: int,
) -> list[Stage]:
    """Measure each step by itself on one thread, and the job on one core, interleaved.

    Parameters
    ----------
    artifact : ModelArtifact
        The model.
    contents : sequence of bytes
        Encoded images.
    jobs : Jobs
        The runner of the job.
    engine : str
        The engine that runs the model.
    batch_size, rounds : int
        Images a forward pass; how often each step is measured.

    Raises
    ------
    EngineError
        If the engine or the job does not run.
    """
    preprocess = artifact.manifest.preprocess
    predictor = Predictor(artifact, engine=engine, threads=1, batch_size=batch_size)
    images = preprocessed(contents, preprocess)
    batch = images[np.arange(batch_size) % len(images)]
    size = preprocess.resize.size
    enough = size if isinstance(size, tuple) else (size, size)
    found = interleaved({
        "decode": lambda number: _each(lambda content: open_image(content, enough=enough), contents),
        "whole": lambda number: _each(lambda content: preprocess_content(content, preprocess), contents),
        "inference": lambda number: _inference(predictor, batch, len(contents)),
        "job": lambda number: _job(jobs, number),
    }, rounds=rounds)
    milliseconds = {
        "decode": found["decode"],
        "preprocess": [whole - decode for whole, decode in zip(found["whole"], found["decode"], strict=True)],
        "inference": found["inference"],
        "spark": [
            job - whole - inference
            for job, whole, inference in zip(found["job"], found["whole"], found["inference"], strict=True)
        ],
    }
    return [Stage(stage, spread_of(milliseconds[stage]), ratio_of(milliseconds[stage], found["job"])) for stage in STAGES]


def _each(step: Callable[[bytes], object], contents: Sequence[bytes]) -> float:
    started = time.process_time()
    for content in contents:
        step(content)
    return 1000 * (time.process_time() - started) / len(contents)


def _inference(predictor: Predictor, batch: npt.NDArray[np.uint8], images: int) -> float:
    started = time.process_time()
    number = max(3, images // len(batch))
    for _ in range(number):
        predictor.engine.run(batch)
    return 1000 * (time.process_time() - started) / (number * len(batch))


def _job(jobs: Jobs, number: int) -> float:
    return 1000 / marginal_speed(jobs.times(SPARKQ, 1, number))
