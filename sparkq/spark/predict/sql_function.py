"""`register_udf`: an artifact as a function of SQL."""
from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pandas as pd  # type: ignore[import-untyped]  # it ships no types
import pyarrow as pa
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from sparkq.artifact.file import ModelArtifact
from sparkq.config import InferenceConfig
from sparkq.errors import ConfigError, InputError
from sparkq.planning.partitions import ImageCost
from sparkq.spark.cluster.shipping import ShippedModel
from sparkq.spark.input.columns import added_fields
from sparkq.spark.predict.inference import ship
from sparkq.spark.session.settings import arrow_settings
from sparkq.worker.predict import predict_partition

__all__ = ["answers", "register_udf"]

_IMAGE = "image"
_ROWS_A_BATCH = "spark.sql.execution.arrow.maxRecordsPerBatch"


def register_udf(spark: SparkSession, name: str, artifact: ModelArtifact, *, config: InferenceConfig | None = None) -> Any:
    """Make an artifact a function of SQL: ``SELECT path, classify(content).label_name FROM images``. On the driver.

    The function takes encoded images (binary), Spark's image struct, or paths and uris (string), which workers read. It answers
    each row with one struct: ``status``, ``error_code``, ``error_message``, the columns of the artifact's task as `predict` has
    them, ``model_digest`` and ``engine``. A broken image is a struct with ``status = error``, never an exception.

    Several fields of one answer run the model once. For a WHERE on the answer, which it moves ahead of the SELECT, Spark runs it
    a second time: filter rows that were written.

    Parameters
    ----------
    spark : SparkSession
        Classic or of Spark Connect; the function lives as long as it. Before Spark 4.1, which sends batches of at most 64 MiB to
        workers, it gets a ``spark.sql.execution.arrow.maxRecordsPerBatch`` that suits photographs, unless it has one.
    name : str
        Of the function; takes the place of another one.
    artifact : ModelArtifact
        Broadcast here, loaded once a Python worker.
    config : InferenceConfig, optional
        Engine, batch size, ``top_k``, limits; no column, which SQL names.

    Returns
    -------
    UserDefinedFunction
        The same for DataFrames: ``images.select(classify("content"))``.

    Raises
    ------
    ConfigError
        If `name` cannot name a function, or `config` names a column.
    EngineError
        If the engine does not fit the artifact.
    """
    config = config or InferenceConfig()
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ConfigError(f"name: expected letters, digits and '_', for SQL, such as classify; got {name!r}.")
    if (config.content_column, config.uri_column) != (None, None):
        raise ConfigError("config: expected no content_column and no uri_column, as SQL names the column; got one.")
    model, fields = ship(spark, artifact, config), added_fields(artifact.manifest.task)
    functions: Any = F
    if hasattr(F, "arrow_udf"):
        return spark.udf.register(name, functions.arrow_udf(_arrow_function(model, config), fields))
    if spark.conf.get(_ROWS_A_BATCH, None) is None:
        mean = ImageCost().mean_bytes
        spark.conf.set(_ROWS_A_BATCH, arrow_settings(mean_bytes=mean, largest_bytes=mean)[_ROWS_A_BATCH])
    return spark.udf.register(name, functions.pandas_udf(_pandas_function(model, config), fields))


# Spark tells the kind of a function by its annotations, and what is defined inside another one travels by value: it holds
# nothing but the model's handle, and calls what workers import.
def _arrow_function(model: ShippedModel, config: InferenceConfig) -> Any:
    def predicted(images: Iterator[pa.Array]) -> Iterator[pa.Array]:
        return answers(images, model=model, config=config)

    return predicted


def _pandas_function(model: ShippedModel, config: InferenceConfig) -> Any:
    def predicted(images: Iterator[pd.Series]) -> Iterator[pd.DataFrame]:
        return answers_in_pandas(images, model=model, config=config)

    return predicted


def answers(images: Iterator[pa.Array], *, model: ShippedModel, config: InferenceConfig) -> Iterator[pa.StructArray]:
    """One struct for each image, in order, in arrays of other lengths. On a Python worker.

    Raises
    ------
    InputError
        If they are neither images nor strings.
    """
    for first in images:
        kind = first.type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            config = replace(config, uri_column=_IMAGE)
        elif not (pa.types.is_struct(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
            raise InputError(
                f"image: expected encoded images (binary), Spark's image struct, or paths and uris (string); got {kind}.",
                hint="of a table of files that is the column content.",
            )
        for batch in predict_partition(_batches(first, images), predictor=model.predictor, image_column=_IMAGE, config=config):
            # A column of uris stays beside its rows, as it does in a table.
            added = [name for name in batch.schema.names if name != _IMAGE]
            yield pa.StructArray.from_arrays([batch.column(name) for name in added], names=added)


def _batches(first: pa.Array, others: Iterator[pa.Array]) -> Iterator[pa.RecordBatch]:
    yield pa.RecordBatch.from_arrays([first], names=[_IMAGE])
    for images in others:
        yield pa.RecordBatch.from_arrays([images], names=[_IMAGE])


def answers_in_pandas(
    images: Iterator[pd.Series | pd.DataFrame], *, model: ShippedModel, config: InferenceConfig,
) -> Iterator[pd.DataFrame]:
    """`answers`, for Spark before 4.1, which gives images as objects, and structs as tables. On a Python worker."""
    for answered in answers(map(_array, images), model=model, config=config):
        yield pa.RecordBatch.from_struct_array(answered).to_pandas(integer_object_nulls=True)


def _array(images: pd.Series | pd.DataFrame) -> pa.Array:
    if isinstance(images, pd.DataFrame):
        return pa.RecordBatch.from_pandas(images, preserve_index=False).to_struct_array()
    array = pa.array(images, from_pandas=True)
    # A batch of nulls has no type of its own.
    return array.cast(pa.binary()) if pa.types.is_null(array.type) else array
