"""A variant of `predict` under two profilers, which say where torch and Python spend the time of each worker's batches."""
from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from pyspark.sql import DataFrame

from sparkq.artifact.file import ModelArtifact
from sparkq.config import InferenceConfig
from sparkq.engines.base import Engine
from sparkq.errors import InputError
from sparkq.spark.cluster.shipping import ShippedModel, ship_model
from sparkq.spark.input.columns import find_image_column, output_schema
from sparkq.worker.predict import predict_partition
from sparkq.worker.predictor import Predictor

__all__ = ["predict_profiled", "require_pyinstrument"]

_PROFILED_BATCHES = 8
_INTERVAL_SECONDS = 0.0005
# A worker's first task loads the model: a profile of that would show nothing else.
_PROFILED_TASK = 1
_tasks = itertools.count()


def require_pyinstrument() -> None:
    """Raise `InputError` where the sampling profiler is not installed."""
    try:
        import pyinstrument  # noqa: F401
    except ImportError as error:
        raise InputError(
            "profile: expected the package pyinstrument; got none.", hint="pip install 'sparkq[benchmark]'.",
        ) from error


def predict_profiled(images_df: DataFrame, artifact: ModelArtifact, folder: str, *, config: InferenceConfig) -> DataFrame:
    """Predict as `sparkq.predict` does, and profile the first eight batches of each worker's second task.

    Parameters
    ----------
    images_df, artifact, config
        As for `sparkq.predict`.
    folder : str
        Local on every worker; it gets ``worker-PID.trace.json`` (Chrome's format: Perfetto, chrome://tracing),
        ``worker-PID.html`` (call tree and timeline) and ``worker-PID.speedscope.json`` (a flame graph at speedscope.app).
    """
    image_column = find_image_column(images_df.schema, config)
    context = images_df.sparkSession.sparkContext
    model = ship_model(
        context, artifact, config.engine, allow_saturation=config.allow_saturation, batch_size=config.batch_size,
    )
    run_batches = partial(_profiled_batches, model=model, image_column=image_column, config=config, folder=folder)
    content_column = image_column if config.uri_column is None else None
    return images_df.mapInArrow(run_batches, output_schema(images_df.schema, content_column, model_task=artifact.manifest.task))


def _profiled_batches(
    batches: Iterable[pa.RecordBatch], *, model: ShippedModel, image_column: str, config: InferenceConfig, folder: str,
) -> Iterator[pa.RecordBatch]:
    # In one thread: a profiler sees only its own.
    predicted = predict_partition(
        iter(batches), predictor=model.predictor, image_column=image_column, config=config, prefetch_bytes=0,
    )
    if next(_tasks) == _PROFILED_TASK:
        yield from _profile(predicted, model.predictor(), Path(folder))
    yield from predicted


@dataclass
class _NamedInTrace:
    """An engine whose passes have a name in the trace, also one outside torch."""

    engine: Engine
    name: str

    def run(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        with torch.profiler.record_function(f"{self.name}, {len(images)} images"):
            return self.engine.run(images)


def _profile(predicted: Iterator[pa.RecordBatch], predictor: Predictor, folder: Path) -> list[pa.RecordBatch]:
    from pyinstrument import Profiler
    from pyinstrument.renderers import HTMLRenderer, SpeedscopeRenderer

    sampling = Profiler(interval=_INTERVAL_SECONDS)
    engine = predictor.engine
    done: list[pa.RecordBatch] = []
    predictor.engine = _NamedInTrace(engine, engine.name)
    try:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as tracing, sampling:
            for _ in range(_PROFILED_BATCHES):
                with torch.profiler.record_function("batch"):
                    done += islice(predicted, 1)
    finally:
        predictor.engine = engine
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / f"worker-{os.getpid()}"
    tracing.export_chrome_trace(str(stem.with_suffix(".trace.json")))
    stem.with_suffix(".html").write_text(sampling.output(HTMLRenderer()), encoding="utf-8")
    stem.with_suffix(".speedscope.json").write_text(sampling.output(SpeedscopeRenderer()), encoding="utf-8")
    return done
