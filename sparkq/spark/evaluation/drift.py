"""`measure_drift`: a sample of a job's images against those that its model was calibrated on."""
from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial, reduce
from operator import add

import pyarrow as pa
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DoubleType, LongType, StructField, StructType

from sparkq.artifact.file import ModelArtifact
from sparkq.config import InferenceConfig, check_share
from sparkq.metrics.drift import Drift, DriftSums, judge_drift, required_profile
from sparkq.spark.cluster.shipping import ShippedModel, ship_model
from sparkq.spark.input.columns import find_image_column
from sparkq.spark.input.sources import is_file_source, read_files
from sparkq.spark.predict.planning import with_planned_partitions
from sparkq.spark.session.actions import run_action
from sparkq.spark.session.failures import expected_failure
from sparkq.worker.observe_drift import observe_partition, sums_of

__all__ = ["MAX_SAMPLED_IMAGES", "measure_drift"]

MAX_SAMPLED_IMAGES = 10_000
"""About so many images at most, whatever the share: more make no index more certain, for calibration saw hundreds."""

_HASHES = 2**32
_SCHEMA = StructType([
    StructField("images", LongType()), StructField("score_counts", ArrayType(LongType())),
    StructField("label_counts", ArrayType(LongType())), StructField("saturated", ArrayType(DoubleType())),
    StructField("saturated_squares", ArrayType(DoubleType())),
])


def measure_drift(
    images_df: DataFrame, artifact: ModelArtifact, *, sample: float = 0.01, config: InferenceConfig | None = None,
) -> Drift:
    """Measure how far a job's images moved from the calibration images. Runs a Spark action of its own.

    Parameters
    ----------
    images_df : DataFrame
        As for `predict`. Of `sparkq.read_images` only the sampled files are opened; any other DataFrame is read whole.
    artifact : ModelArtifact
        INT8, with a calibration profile.
    sample : float
        Share of the images, 0 to 1, chosen by a hash of ``path`` where there is one, else of the content: the same ones
        every time. At most about `MAX_SAMPLED_IMAGES`.
    config : InferenceConfig, optional
        Limits and column. The engine is always the one that calibration ran on.

    Returns
    -------
    Drift
        Images that cannot be decoded are in no figure.

    Raises
    ------
    ConfigError
        If `sample` is no share.
    InputError
        If the artifact has no calibration profile, or the DataFrame no image column.
    EngineError
        If a worker could not run the model.
    """
    config = config or InferenceConfig()
    check_share("drift_sample", sample)
    required_profile(artifact.manifest)
    image_column = find_image_column(images_df.schema, config)
    # The calibration profile was measured on the recipe's default engine, too: only the images shall differ.
    model = ship_model(images_df.sparkSession.sparkContext, artifact, None, allow_saturation=config.allow_saturation)
    run_batches = partial(_observe_batches, model=model, image_column=image_column, config=config)
    try:
        rows = run_action(_sampled(images_df, image_column, sample).mapInArrow(run_batches, _SCHEMA).collect)
    except PySparkException as error:
        raise expected_failure(error) or error from error
    sums = reduce(add, (sums_of(row.asDict()) for row in rows), DriftSums.zeros(artifact.manifest))
    return judge_drift(sums, artifact.manifest)


def _sampled(images_df: DataFrame, image_column: str, sample: float) -> DataFrame:
    """The image column of a sample of the rows."""
    if image_column == "content" and is_file_source(images_df):
        # Spark would open every file to look at rows that it then drops. Those of zero bytes cannot be decoded anyway.
        chosen = images_df.select("path", "length", _hash("path")).where("length > 0").where(F.col("hash") < _below(sample))
        ordered = chosen.orderBy("hash", "path").limit(MAX_SAMPLED_IMAGES).select("path")
        paths = [row["path"] for row in run_action(ordered.collect)]
        return with_planned_partitions(read_files(images_df.sparkSession, paths).select("content"), images=len(paths))
    sample = min(sample, MAX_SAMPLED_IMAGES / max(run_action(images_df.count), 1))
    key = "path" if "path" in images_df.columns else image_column
    return images_df.select(image_column, _hash(key)).where(F.col("hash") < _below(sample)).select(image_column)


def _hash(key: str) -> Column:
    return F.pmod(F.xxhash64(key), F.lit(_HASHES)).alias("hash")


def _below(sample: float) -> int:
    return int(sample * _HASHES)


def _observe_batches(
    batches: Iterable[pa.RecordBatch], *, model: ShippedModel, image_column: str, config: InferenceConfig,
) -> Iterator[pa.RecordBatch]:
    return observe_partition(iter(batches), predictor=model.predictor, image_column=image_column, config=config)
