"""A variant of `predict` whose reads all take longer, to see what storage far away would cost a job."""
from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import pyarrow as pa
from pyspark.sql import DataFrame

from sparkq.artifact.file import ModelArtifact
from sparkq.config import InferenceConfig
from sparkq.images.read import read_object
from sparkq.spark.cluster.shipping import ShippedModel, ship_model
from sparkq.spark.input.columns import find_image_column, output_schema
from sparkq.worker.predict import predict_partition

__all__ = ["predict_delayed"]


def predict_delayed(images_df: DataFrame, artifact: ModelArtifact, *, config: InferenceConfig, seconds: float) -> DataFrame:
    """Predict uris as `sparkq.predict` does, but wait before each object is read.

    Parameters
    ----------
    images_df, artifact, config
        As for `sparkq.predict`, with a ``uri_column``.
    seconds : float
        How long each reader waits.
    """
    uri_column = find_image_column(images_df.schema, config)
    model = ship_model(images_df.sparkSession.sparkContext, artifact, config.engine, batch_size=config.batch_size)
    run_batches = partial(_delayed_batches, model=model, uri_column=uri_column, config=config, seconds=seconds)
    return images_df.mapInArrow(run_batches, output_schema(images_df.schema, None, model_task=artifact.manifest.task))


def _delayed_batches(
    batches: Iterable[pa.RecordBatch], *, model: ShippedModel, uri_column: str, config: InferenceConfig, seconds: float,
) -> Iterator[pa.RecordBatch]:
    def read(uri: str, *, admit: Callable[[int], None]) -> bytes:
        time.sleep(seconds)
        return read_object(uri, admit=admit)

    return predict_partition(iter(batches), predictor=model.predictor, image_column=uri_column, config=config, read=read)
