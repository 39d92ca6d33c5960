"""`evaluate` and `compare_embeddings`: accuracy on labelled images, and INT8 against float, measured on Spark."""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial

import pyarrow as pa
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.types import IntegerType

from sparkq.artifact.file import ModelArtifact
from sparkq.config import InferenceConfig
from sparkq.errors import InputError
from sparkq.metrics.evaluation import EmbeddingComparison, Evaluation
from sparkq.metrics.plausibility import chance_warning, one_label_warning
from sparkq.metrics.sqnr import sqnr_db
from sparkq.model_tasks import require_model_task
from sparkq.model_tasks.labels import read_labels_csv
from sparkq.redaction import get_logger
from sparkq.spark.cluster.nodes import choose_for_all
from sparkq.spark.cluster.shipping import ShippedModel, ship_model
from sparkq.spark.evaluation.labelled import LabelledImages
from sparkq.spark.input.columns import find_image_column
from sparkq.spark.input.worker_reads import read_by_workers
from sparkq.spark.session.actions import run_action
from sparkq.spark.session.failures import expected_failure
from sparkq.worker.evaluate import COMPARISON_FIELDS, EVALUATION_FIELDS, compare_partition, evaluate_partition

__all__ = ["compare_embeddings", "evaluate", "measure_accuracy", "require_same_classes", "shipped"]

_logger = get_logger(__name__)
_COUNTED_LABELS = ("label", "float_label", "truth")


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
        In percent. What is odd about it stands in its ``warnings``, and is logged.

    Raises
    ------
    InputError
        If there is no path or image column, or not one labelled image is there.
    EngineError
        If a worker could not run the model.
    """
    evaluation = measure_accuracy(images_df, artifact, labels=labels, float_artifact=float_artifact, config=config)
    for warning in evaluation.warnings:
        _logger.warning("evaluate: %s", warning)
    return evaluation


def measure_accuracy(
    images_df: DataFrame, artifact: ModelArtifact, *, labels: str, float_artifact: ModelArtifact | None = None,
    config: InferenceConfig | None = None,
) -> Evaluation:
    """Do as `evaluate`, but log nothing: the gate measures many artifacts on the same images."""
    config = config or InferenceConfig()
    require_model_task(
        artifact.manifest, "classification", what="evaluate",
        hint="sparkq.compare_embeddings compares embeddings, sparkq.evaluate_detections boxes.",
    )
    images_df, config = read_by_workers(images_df, config)
    image_column = find_image_column(images_df.schema, config)
    if float_artifact is not None:
        require_same_classes(artifact, float_artifact)
    truth = read_labels_csv(labels, classes=artifact.manifest.classes, names=artifact.manifest.labels)
    known = LabelledImages(labels, truth, IntegerType())
    labelled = known.join(images_df)
    model = shipped(images_df, artifact, config)
    reference = None if float_artifact is None else shipped(images_df, float_artifact, InferenceConfig())
    run_batches = partial(_evaluate_batches, model=model, reference=reference, image_column=image_column, config=config)
    compared = labelled.select(image_column, "__truth").mapInArrow(run_batches, from_arrow_schema(EVALUATION_FIELDS))
    try:
        evaluation = _summary(compared, artifact, with_float=reference is not None)
    except PySparkException as error:
        raise expected_failure(error) or error from error
    known.require_found(evaluation.images, evaluation.errors)
    return evaluation


def compare_embeddings(
    images_df: DataFrame, artifact: ModelArtifact, float_artifact: ModelArtifact, *, config: InferenceConfig | None = None,
) -> EmbeddingComparison:
    """Measure how near an artifact's embeddings come to its float model's. Runs a Spark action.

    Parameters
    ----------
    images_df : DataFrame
        With an image column, as `sparkq.read_images` gives it. No labels are needed.
    artifact : ModelArtifact
        Of task ``embedding``.
    float_artifact : ModelArtifact
        The float model with the same preprocessing and layer (recipe ``none``), run on the same pixels.
    config : InferenceConfig, optional
        Engine (of `artifact`), batch size, limits.

    Raises
    ------
    InputError
        If an artifact is of another task, their embeddings differ in length, there is no image column, or no readable image.
    EngineError
        If a worker could not run the model.
    """
    config = config or InferenceConfig()
    for one in (artifact, float_artifact):
        require_model_task(one.manifest, "embedding", what="compare_embeddings")
    lengths = [one.manifest.output_length for one in (artifact, float_artifact)]
    if lengths[0] != lengths[1]:
        raise InputError(
            f"float model: expected embeddings of {lengths[0]} numbers, as the artifact's; got {lengths[1]}.",
            hint="make both artifacts with the same --embedding-layer.",
        )
    images_df, config = read_by_workers(images_df, config)
    image_column = find_image_column(images_df.schema, config)
    model, reference = shipped(images_df, artifact, config), shipped(images_df, float_artifact, InferenceConfig())
    run_batches = partial(_compare_batches, model=model, reference=reference, image_column=image_column, config=config)
    compared = images_df.select(image_column).mapInArrow(run_batches, from_arrow_schema(COMPARISON_FIELDS))
    sums = compared.agg(
        F.sum(F.col("compared").cast("int")).alias("images"), F.sum((~F.col("compared")).cast("int")).alias("errors"),
        F.avg("cosine").alias("mean"), F.min("cosine").alias("least"), F.sum("signal").alias("signal"),
        F.sum("noise").alias("noise"),
    )
    try:
        row = run_action(sums.collect)[0]
    except PySparkException as error:
        raise expected_failure(error) or error from error
    if not row["images"]:
        raise InputError(
            f"images: expected readable ones to compare embeddings of; got {row['errors'] or 0} that are not.",
            hint="`sparkq predict` says of each image why it cannot be read.",
        )
    sqnr = sqnr_db(row["signal"], row["noise"]) if row["noise"] else None
    return EmbeddingComparison(row["images"], row["errors"], row["mean"], row["least"], sqnr)


def shipped(images_df: DataFrame, artifact: ModelArtifact, config: InferenceConfig) -> ShippedModel:
    """An artifact on its way to the workers of these images; engine ``auto`` is settled for all of them, if `config` says so."""
    context = images_df.sparkSession.sparkContext
    if config.same_everywhere:
        config, _ = choose_for_all(context, artifact, config)
    return ship_model(
        context, artifact, config.engine, allow_saturation=config.allow_saturation, batch_size=config.batch_size,
    )


def _compare_batches(
    batches: Iterable[pa.RecordBatch], *, model: ShippedModel, reference: ShippedModel, image_column: str,
    config: InferenceConfig,
) -> Iterator[pa.RecordBatch]:
    return compare_partition(
        iter(batches), predictor=model.predictor, float_predictor=reference.predictor, image_column=image_column, config=config,
    )


def require_same_classes(artifact: ModelArtifact, float_artifact: ModelArtifact) -> None:
    """Raise `InputError` unless both tell as many classes apart."""
    if float_artifact.manifest.classes != artifact.manifest.classes:
        raise InputError(
            f"float model: expected the {artifact.manifest.classes} classes of artifact {artifact.manifest.name!r}; got "
            f"{float_artifact.manifest.classes}.",
            hint="give the float model that the artifact was made of.",
        )


def _evaluate_batches(
    batches: Iterable[pa.RecordBatch], *, model: ShippedModel, reference: ShippedModel | None, image_column: str,
    config: InferenceConfig,
) -> Iterator[pa.RecordBatch]:
    return evaluate_partition(
        iter(batches), predictor=model.predictor, float_predictor=None if reference is None else reference.predictor,
        image_column=image_column, truth_column="__truth", config=config,
    )


def _summary(compared: DataFrame, artifact: ModelArtifact, *, with_float: bool) -> Evaluation:
    sums, counts = _collected(compared)
    images = int(sums["compared"])
    percent = {name: 100 * sums[name] / max(images, 1) for name in ("top1", "top5", "float_top1", "float_top5", "agrees")}
    evaluation = Evaluation(images, int(sums["errors"]), percent["top1"], percent["top5"])
    if images == 0:
        return evaluation
    warnings = _warnings(artifact, sums, counts, with_float=with_float)
    if not with_float:
        return replace(evaluation, warnings=warnings)
    return replace(
        evaluation,
        float_top1=percent["float_top1"],
        float_top5=percent["float_top5"],
        accuracy_drop=percent["float_top1"] - percent["top1"],
        agreement=percent["agrees"],
        changed=int(sums["changed"]),
        sqnr_db=sqnr_db(sums["signal"], sums["noise"]) if sums["noise"] else None,
        warnings=warnings,
    )


def _collected(compared: DataFrame) -> tuple[Counter[str], dict[str, Counter[int]]]:
    """Sums over all images, and how many have each label; in one pass, because each decodes the images anew."""
    flags = [F.sum(F.col(name).cast("int")).alias(name) for name in ("top1", "top5", "float_top1", "float_top5", "agrees")]
    kinds = F.explode(F.array(*[F.struct(F.lit(name).alias("kind"), F.col(name).alias("of")) for name in _COUNTED_LABELS]))
    rows = run_action(compared.withColumn("__counted", kinds).groupBy("__counted.kind", "__counted.of").agg(
        F.sum(F.col("compared").cast("int")).alias("compared"), F.sum((~F.col("compared")).cast("int")).alias("errors"), *flags,
        F.sum("signal").alias("signal"), F.sum("noise").alias("noise"),
        F.sum((F.col("top1") != F.col("float_top1")).cast("int")).alias("changed"),
    ).collect)
    sums: Counter[str] = Counter()
    counts: dict[str, Counter[int]] = {name: Counter() for name in _COUNTED_LABELS}
    for row in rows:
        if row["of"] is not None:
            counts[row["kind"]][row["of"]] += row["compared"]
        # Each image is there once a kind.
        if row["kind"] == "label":
            sums.update({name: row[name] or 0 for name in row.__fields__ if name not in ("kind", "of")})
    return sums, counts


def _warnings(
    artifact: ModelArtifact, sums: Counter[str], counts: dict[str, Counter[int]], *, with_float: bool,
) -> tuple[str, ...]:
    """Say what is odd of the float model where there is one: INT8 that is as bad has the fault from it."""
    classes, names = artifact.manifest.classes, artifact.manifest.labels
    right, predicted = (sums["float_top1"], counts["float_label"]) if with_float else (sums["top1"], counts["label"])
    model = "the float model" if with_float else f"artifact {artifact.manifest.name!r}"
    found = [
        chance_warning(right, counts["truth"], predicted, classes=classes, model=model),
        one_label_warning(counts["label"], classes=classes, names=names, model=f"artifact {artifact.manifest.name!r}"),
        one_label_warning(counts["float_label"], classes=classes, names=names, model="the float model"),
    ]
    return tuple(warning for warning in found if warning is not None)
