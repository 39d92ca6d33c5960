"""The gate's measurement on Spark: accuracy on labelled images."""
from __future__ import annotations

from collections.abc import Callable

from pyspark.sql import DataFrame

from sparkq.artifact.file import ModelArtifact
from sparkq.config import InferenceConfig
from sparkq.quantization.gate import Measured, drop_error
from sparkq.redaction import get_logger
from sparkq.spark.evaluation.evaluate import measure_accuracy
from sparkq.spark.evaluation.evaluate_boxes import evaluate_detections
from sparkq.spark.input.sources import count_images
from sparkq.spark.predict.planning import with_planned_partitions

__all__ = ["labelled_measure"]

_logger = get_logger(__name__)


def labelled_measure(
    images_df: DataFrame, labels: str, float_artifact: ModelArtifact,
) -> Callable[[ModelArtifact], Measured]:
    """A measure for `sparkq.quantization.gate.pass_gate`: `sparkq.evaluate` or `sparkq.evaluate_detections` on images.

    Parameters
    ----------
    images_df : DataFrame
        Images that the artifact was not calibrated on, as `sparkq.read_images` gives them.
    labels : str
        Their labels, CSV.
    float_artifact : ModelArtifact
        What INT8 is compared with.

    Raises
    ------
    InputError
        If there are no images.
    """
    planned = with_planned_partitions(images_df, images=count_images(images_df, "evaluation"))
    # What is written is measured here; whether a node may run it, the node finds out itself.
    config = InferenceConfig(allow_saturation=True)
    told: set[str] = set()

    def measure_boxes(artifact: ModelArtifact) -> Measured:
        found = evaluate_detections(planned, artifact, labels=labels, float_artifact=float_artifact, config=config)
        error = found.standard_error
        return Measured(
            found.images, found.agreement, None, accuracy_drop=found.accuracy_drop, boxes=found.boxes, map50=found.map50,
            standard_error=None if error is None else round(error, 3),
        )

    def measure(artifact: ModelArtifact) -> Measured:
        found = measure_accuracy(planned, artifact, labels=labels, float_artifact=float_artifact, config=config)
        for warning in found.warnings:
            # Once, however many artifacts are tried.
            if warning not in told:
                _logger.warning("evaluation: %s", warning)
        told.update(found.warnings)
        drop = found.accuracy_drop or 0.0
        error = drop_error(drop, found.changed or 0, found.images)
        return Measured(found.images, found.agreement or 0.0, found.sqnr_db, found.top1, drop, round(error, 3))

    return measure_boxes if float_artifact.manifest.task == "detection" else measure
