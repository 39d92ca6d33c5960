"""`evaluate_detections`: mean average precision on labelled images, and INT8 against float, measured on Spark."""
from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from functools import partial

import pyarrow as pa
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.types import ArrayType, FloatType, IntegerType, StructField, StructType

from sparkq.artifact.file import ModelArtifact
from sparkq.config import InferenceConfig
from sparkq.config.detection import BOX_CORNERS
from sparkq.errors import InputError
from sparkq.metrics.detection import DetectionEvaluation, summarize
from sparkq.model_tasks import require_model_task
from sparkq.model_tasks.labels import read_boxes_csv
from sparkq.spark.cluster.shipping import ShippedModel
from sparkq.spark.evaluation.evaluate import require_same_classes, shipped
from sparkq.spark.evaluation.labelled import LabelledImages
from sparkq.spark.input.columns import find_image_column
from sparkq.spark.input.worker_reads import read_by_workers
from sparkq.spark.session.actions import run_action
from sparkq.spark.session.failures import expected_failure
from sparkq.worker.evaluate_boxes import BOX_EVALUATION_FIELDS, evaluate_boxes_partition, image_result

__all__ = ["evaluate_detections"]

_TRUE_BOXES = ArrayType(StructType([
    StructField("label", IntegerType()), *(StructField(name, FloatType()) for name in BOX_CORNERS),
]))


def evaluate_detections(
    images_df: DataFrame, artifact: ModelArtifact, *, labels: str, float_artifact: ModelArtifact | None = None,
    config: InferenceConfig | None = None,
) -> DetectionEvaluation:
    """Measure a detection artifact on labelled images. Runs a Spark action.

    Parameters
    ----------
    images_df : DataFrame
        With ``path`` and an image column, as `sparkq.read_images` gives it.
    artifact : ModelArtifact
        The model to measure. Boxes count as rows have them: above its score threshold.
    labels : str
        CSV file with the columns ``path`` (relative to the CSV, or absolute), ``label`` (index or class name), ``x_min``,
        ``y_min``, ``x_max`` and ``y_max`` in pixels of the upright image, a line a box; an image without boxes has a line with
        its path alone. Images that it does not name are left out.
    float_artifact : ModelArtifact, optional
        The float model with the same preprocessing (recipe ``none``), run on the same pixels.
    config : InferenceConfig, optional
        Engine (of `artifact`), batch size, limits.

    Returns
    -------
    DetectionEvaluation
        In percent. Every image's boxes come to the driver for it, some kilobytes an image at most.

    Raises
    ------
    InputError
        If there is no path or image column, not one labelled image is there, or no box is labelled.
    EngineError
        If a worker could not run the model.
    """
    config = config or InferenceConfig()
    require_model_task(artifact.manifest, "detection", what="evaluate_detections")
    images_df, config = read_by_workers(images_df, config)
    image_column = find_image_column(images_df.schema, config)
    if float_artifact is not None:
        require_same_classes(artifact, float_artifact)
    truth = read_boxes_csv(labels, classes=artifact.manifest.classes, names=artifact.manifest.labels)
    known = LabelledImages(
        labels, {path: [dataclasses.astuple(box) for box in boxes] for path, boxes in truth.items()}, _TRUE_BOXES,
    )
    run_batches = partial(
        _evaluate_batches, model=shipped(images_df, artifact, config),
        reference=None if float_artifact is None else shipped(images_df, float_artifact, InferenceConfig()),
        image_column=image_column, config=config,
    )
    joined = known.join(images_df).select(image_column, "__origin", "__truth")
    compared = joined.mapInArrow(run_batches, from_arrow_schema(BOX_EVALUATION_FIELDS))
    try:
        rows = sorted(run_action(compared.collect), key=lambda row: str(row["origin"]))
    except PySparkException as error:
        raise expected_failure(error) or error from error
    results = [image_result(row.asDict()) for row in rows if row["compared"]]
    known.require_found(len(results), len(rows) - len(results))
    if not any(result.truth for result in results):
        raise InputError(
            f"labels {labels}: expected at least one box in the {len(results)} images compared; got none.",
            hint="paths in the CSV are relative to the CSV file.",
        )
    return summarize(results, len(rows) - len(results))


def _evaluate_batches(
    batches: Iterable[pa.RecordBatch], *, model: ShippedModel, reference: ShippedModel | None, image_column: str,
    config: InferenceConfig,
) -> Iterator[pa.RecordBatch]:
    return evaluate_boxes_partition(
        iter(batches), predictor=model.predictor, float_predictor=None if reference is None else reference.predictor,
        image_column=image_column, origin_column="__origin", truth_column="__truth", config=config,
    )
