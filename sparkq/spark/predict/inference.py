"""`predict` and `predict_rdd`: one partition function under Spark's two ways to map partitions."""
from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import pyarrow as pa
from pyspark import RDD, SparkContext
from pyspark.sql import DataFrame

from sparkq.artifact.file import ModelArtifact
from sparkq.config import InferenceConfig
from sparkq.engines.base import DEFAULT_BATCH_SIZE
from sparkq.errors import ConfigError, InputError
from sparkq.spark.cluster.nodes import choose_for_all
from sparkq.spark.cluster.shipping import ShippedModel, ship_in_session, ship_model
from sparkq.spark.cluster.worker_reports import WorkerReports
from sparkq.spark.input.columns import find_image_column, output_schema
from sparkq.spark.input.worker_reads import read_by_workers
from sparkq.spark.session.connect import is_connect
from sparkq.worker.predict import predict_partition

__all__ = ["predict", "predict_rdd", "predict_reporting", "ship"]

Key = TypeVar("Key")


def predict(images_df: DataFrame, artifact: ModelArtifact, *, config: InferenceConfig | None = None) -> DataFrame:
    """Predict every image of a DataFrame. Lazy: nothing runs until the result is used.

    Only with ``same_everywhere`` a small job runs here: it measures every node.

    Parameters
    ----------
    images_df : DataFrame
        With encoded images in a binary column (``binaryFile`` rows have ``content``), with Spark's image struct, or with paths
        or uris (``InferenceConfig(uri_column=...)``), which the workers read themselves.
    artifact : ModelArtifact
        Broadcast here, loaded once a Python worker.
    config : InferenceConfig, optional
        Engine, batch size, ``top_k``, limits.

    Returns
    -------
    DataFrame
        One row an input row: its columns without the image bytes, then ``status``, ``error_code``, ``error_message``, those of
        the artifact's task (classification: ``label``, ``label_name``, ``score``, ``top_k``; embedding: ``embedding``; detection:
        ``detections``, boxes in pixels of the upright original), and ``model_digest``, ``engine``. An image that cannot be
        read is a row with ``status = error``.

    Raises
    ------
    InputError
        If the DataFrame has no usable image column.
    EngineError
        If the engine does not fit the artifact.
    """
    return predict_reporting(images_df, artifact, config=config or InferenceConfig(), reports=None)


def predict_reporting(
    images_df: DataFrame, artifact: ModelArtifact, *, config: InferenceConfig, reports: WorkerReports | None,
) -> DataFrame:
    """`predict`, whose workers also tell `reports` of themselves."""
    images_df, config = read_by_workers(images_df, config)
    image_column = find_image_column(images_df.schema, config)
    content_column = image_column if config.uri_column is None else None
    schema = output_schema(images_df.schema, content_column, model_task=artifact.manifest.task)
    model = ship(images_df.sparkSession, artifact, config)
    run_batches = partial(_predict_batches, model=model, image_column=image_column, config=config, reports=reports)
    return images_df.mapInArrow(run_batches, schema)


def ship(session: Any, artifact: ModelArtifact, config: InferenceConfig) -> ShippedModel:
    """Send an artifact to the workers of a session, classic or Spark Connect. On the driver."""
    return _ship_in_session(session, artifact, config) if is_connect(session) else _ship(session.sparkContext, artifact, config)


def _ship(context: SparkContext, artifact: ModelArtifact, config: InferenceConfig) -> ShippedModel:
    if config.same_everywhere:
        config, _ = choose_for_all(context, artifact, config)
    return ship_model(
        context, artifact, config.engine, allow_saturation=config.allow_saturation, batch_size=config.batch_size,
    )


def _ship_in_session(session: Any, artifact: ModelArtifact, config: InferenceConfig) -> ShippedModel:
    if config.same_everywhere:
        raise InputError(
            "same_everywhere: expected a classic Spark session, whose nodes can be measured before the job; got one of Spark "
            "Connect.",
            hint="name the engine and the batch size, or let each node choose.",
        )
    return ship_in_session(session, artifact, config)


def _predict_batches(
    batches: Iterable[pa.RecordBatch], *, model: ShippedModel, image_column: str, config: InferenceConfig,
    reports: WorkerReports | None,
) -> Iterator[pa.RecordBatch]:
    yield from predict_partition(iter(batches), predictor=model.predictor, image_column=image_column, config=config)
    if reports is not None:
        reports.tell()


def predict_rdd(
    rdd: RDD[tuple[Key, bytes]], artifact: ModelArtifact, *, config: InferenceConfig | None = None,
) -> RDD[tuple[Key, dict[str, Any]]]:
    """Predict every image of an RDD of (key, encoded bytes).

    Parameters
    ----------
    rdd : RDD of (key, bytes)
        The key is anything that Spark can move; None as bytes is an error row.
    artifact, config
        As for `predict`.

    Returns
    -------
    RDD of (key, dict)
        The columns that `predict` adds, by name.
    """
    config = config or InferenceConfig()
    if config.uri_column is not None:
        raise ConfigError("uri_column: expected none with an RDD of (key, bytes); got one.", hint="take a DataFrame of uris.")
    model = _ship(rdd.context, artifact, config)
    return rdd.mapPartitions(partial(_predict_pairs, model=model, config=config), preservesPartitioning=True)


def _predict_pairs(
    pairs: Iterable[tuple[Key, bytes]], *, model: ShippedModel, config: InferenceConfig,
) -> Iterator[tuple[Key, dict[str, Any]]]:
    # Keys need not be Arrow values, so they stay here; the number of its row goes along with each image and comes back
    # in the same record batch as its prediction.
    keys: dict[int, Key] = {}
    batches = _pairs_to_batches(iter(pairs), keys)
    for batch in predict_partition(batches, predictor=model.predictor, image_column="content", config=config):
        for row in batch.to_pylist():
            yield keys.pop(row.pop("row")), row


def _pairs_to_batches(pairs: Iterator[tuple[Key, bytes]], keys: dict[int, Key]) -> Iterator[pa.RecordBatch]:
    first = 0
    while chunk := list(islice(pairs, DEFAULT_BATCH_SIZE)):
        rows = list(range(first, first + len(chunk)))
        keys.update(zip(rows, (key for key, _ in chunk), strict=True))
        content = pa.array([_bytes(value) for _, value in chunk], pa.large_binary())
        yield pa.RecordBatch.from_arrays([pa.array(rows, pa.int64()), content], names=["row", "content"])
        first += len(chunk)


def _bytes(value: Any) -> bytes | None:
    if value is None or isinstance(value, (bytes, bytearray)):
        return None if value is None else bytes(value)
    raise InputError(
        f"rdd: expected pairs of (key, bytes); got a value of type {type(value).__name__}.",
        hint="map the values to the bytes of image files.",
    )
