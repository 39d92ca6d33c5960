"""`evaluate`: accuracy on labelled images, and INT8 against float, measured on Spark."""
from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from functools import partial

import pyarrow as pa
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import BooleanType, DoubleType, IntegerType, StringType, StructField, StructType

from sparkq.artifact import ModelArtifact
from sparkq.config import InferenceConfig
from sparkq.errors import InputError
from sparkq.evaluation import EVALUATION_FIELDS, Evaluation, evaluate_partition
from sparkq.labels import read_labels_csv
from sparkq.spark.actions import run_action
from sparkq.spark.failures import expected_failure
from sparkq.spark.nodes import choose_for_all
from sparkq.spark.schemas import find_image_column
from sparkq.spark.shipping import ShippedModel, ship_model
from sparkq.spark.sources import comparable_path, spark_path
from sparkq.sqnr import sqnr_db
from sparkq.storage import is_uri
from sparkq.tasks import require_task

__all__ = ["evaluate"]

_logger = logging.getLogger(__name__)
_SPARK_TYPES = {pa.bool_(): BooleanType(), pa.float64(): DoubleType()}
_SCHEMA = StructType([StructField(field.name, _SPARK_TYPES[field.type]) for field in EVALUATION_FIELDS])
_ORIGIN = StructType([StructField("__origin", StringType()), StructField("__truth", IntegerType())])


def evaluate(
    images_df: DataFrame, artifact: ModelArtifact, *, labels: str, float_artifact: ModelArtifact | None = None,
    config: InferenceConfig | None = None,
) -> Evaluation:
    """Measure an artifact on labelled images.

    Parameters
    ----------
    images_df : DataFrame
        With ``path`` and an image column, as `sparkq.read_images` gives it.
    artifact : ModelArtifact
        The model to measure.
    labels : str
        CSV file with the columns ``path`` (relative to the CSV, or absolute) and ``label`` (index or class name). Images
        that it does not name are left out.
    float_artifact : ModelArtifact, optional
        The float model with the same preprocessing (recipe ``none``), run on the same pixels.
    config : InferenceConfig, optional
        Engine (of `artifact`), batch size, limits.

    Returns
    -------
    Evaluation
        In percent.

    Raises
    ------
    InputError
        If there is no path or image column, or not one labelled image is there.
    EngineError
        If a worker could not run the model.
    """
    config = config or InferenceConfig()
    require_task(artifact.manifest, "classification", what="evaluate")
    image_column = find_image_column(images_df.schema, config)
    if "path" not in images_df.columns:
        raise InputError(f"images: expected a column 'path' to match with labels; got {', '.join(images_df.columns)}.")
    if float_artifact is not None:
        _require_same_classes(artifact, float_artifact)
    truth = _truth(labels, artifact)
    spark = images_df.sparkSession
    if config.same_everywhere:
        config, _ = choose_for_all(spark.sparkContext, artifact, config)
    truth_df = spark.createDataFrame(list(truth.items()), _ORIGIN)
    labelled = images_df.withColumn("__origin", comparable_path(F.col("path"))).join(F.broadcast(truth_df), "__origin")
    model = ship_model(
        spark.sparkContext, artifact, config.engine, allow_saturation=config.allow_saturation, batch_size=config.batch_size,
    )
    reference = None if float_artifact is None else ship_model(spark.sparkContext, float_artifact, None)
    task = partial(_evaluate_batches, model=model, reference=reference, image_column=image_column, config=config)
    compared = labelled.select(image_column, "__truth").mapInArrow(task, _SCHEMA)
    try:
        evaluation = _summary(compared, with_float=reference is not None)
    except PySparkException as error:
        raise expected_failure(error) or error from error
    if evaluation.images == 0:
        raise InputError(
            f"labels {labels}: expected images of the input among its {len(truth)} paths; none of them is there and readable "
            f"(first path: {next(iter(truth))}).",
            hint="paths in the CSV are relative to the CSV file.",
        )
    missing = len(truth) - evaluation.images - evaluation.errors
    if missing > 0:
        _logger.warning("labels %s: %d of its %d images are not in the input", labels, missing, len(truth))
    return evaluation


def _require_same_classes(artifact: ModelArtifact, float_artifact: ModelArtifact) -> None:
    if float_artifact.manifest.classes != artifact.manifest.classes:
        raise InputError(
            f"float model: expected the {artifact.manifest.classes} classes of artifact {artifact.manifest.name!r}; got "
            f"{float_artifact.manifest.classes}."
        )


def _truth(labels: str, artifact: ModelArtifact) -> dict[str, int]:
    """Comparable path to class index."""
    manifest = artifact.manifest
    folder = os.path.dirname(labels) if is_uri(labels) else os.path.dirname(os.path.abspath(labels))
    by_path = read_labels_csv(labels, classes=manifest.classes, names=manifest.labels)
    resolved = {
        path if is_uri(path) or os.path.isabs(path) else os.path.join(folder, os.path.normpath(path)): label
        for path, label in by_path.items()
    }
    return {str(comparable_path(spark_path(path))): label for path, label in resolved.items()}


def _evaluate_batches(
    batches: Iterable[pa.RecordBatch], *, model: ShippedModel, reference: ShippedModel | None, image_column: str,
    config: InferenceConfig,
) -> Iterator[pa.RecordBatch]:
    return evaluate_partition(
        iter(batches), predictor=model.predictor, float_predictor=None if reference is None else reference.predictor,
        image_column=image_column, truth_column="__truth", config=config,
    )


def _summary(compared: DataFrame, *, with_float: bool) -> Evaluation:
    counts = [F.sum(F.col(name).cast("int")).alias(name) for name in ("top1", "top5", "float_top1", "float_top5", "agrees")]
    sums = compared.agg(
        F.sum(F.col("compared").cast("int")).alias("images"), F.sum((~F.col("compared")).cast("int")).alias("errors"), *counts,
        F.sum("signal").alias("signal"), F.sum("noise").alias("noise"),
        F.sum((F.col("top1") != F.col("float_top1")).cast("int")).alias("changed"),
    )
    row = run_action(sums.collect)[0]
    images = row["images"] or 0
    percent = {name: 100 * (row[name] or 0) / max(images, 1) for name in ("top1", "top5", "float_top1", "float_top5", "agrees")}
    evaluation = Evaluation(images, row["errors"] or 0, percent["top1"], percent["top5"])
    if not with_float or images == 0:
        return evaluation
    return Evaluation(
        evaluation.images, evaluation.errors, evaluation.top1, evaluation.top5,
        float_top1=percent["float_top1"],
        float_top5=percent["float_top5"],
        accuracy_drop=percent["float_top1"] - percent["top1"],
        agreement=percent["agrees"],
        changed=row["changed"],
        sqnr_db=sqnr_db(row["signal"], row["noise"]) if row["noise"] else None,
    )
