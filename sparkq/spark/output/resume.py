"""Find the images that committed runs have not predicted yet, from metadata: no image is opened, no list made in Python."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from sparkq.artifact.file import ModelArtifact
from sparkq.artifact.manifest import detection_mapping
from sparkq.config.parsing import to_mapping
from sparkq.error_codes import ErrorCode
from sparkq.errors import InputError
from sparkq.redaction import get_logger
from sparkq.runs.manifest import RunManifest
from sparkq.spark.input.inventory import holds_bytes
from sparkq.spark.input.job_images import JobImages
from sparkq.spark.input.listing import IMAGE_KEY, listed_rows, listing_in
from sparkq.spark.input.paths import canonical
from sparkq.spark.output.committed import committed_runs
from sparkq.spark.output.read import rows_of
from sparkq.spark.session.actions import run_action
from sparkq.spark.session.hadoop import HadoopFolder

__all__ = ["remaining_images"]

_PLACE = "__sparkq_place"

_logger = get_logger(__name__)


def remaining_images(images: JobImages, folder: HadoopFolder, artifact: ModelArtifact) -> JobImages:
    """Leave out the images that a committed run has predicted with this model. Runs a Spark action for it.

    An image that failed is left out, too, if its `ErrorCode` lasts and the job has no setting that may cure it: one that was
    too large is tried again once a limit has been raised. Two spellings of a path (`sparkq.storage.canonical_path`) are one
    image.

    Parameters
    ----------
    images : JobImages
        Files, or a table with the columns of `IMAGE_KEY`. A table's rows are compared with a broadcast of the keys, so that no
        image is shuffled.
    folder : HadoopFolder
        The output.
    artifact : ModelArtifact
        Whose digest and preprocessing, and of a detection the thresholds, a run must have.

    Raises
    ------
    InputError
        If the images have no such columns.
    """
    missing = [name for name in IMAGE_KEY if name not in images.df.columns]
    if missing:
        raise InputError(
            f"resume: expected the columns {', '.join(IMAGE_KEY)}, which say whether an image is the same; got no "
            f"{', '.join(missing)} among {', '.join(images.df.columns)}.",
            hint="add them to the table, or run without --resume.",
        )
    done = _done(folder, artifact, to_mapping(images.config))
    if done is None:
        _logger.info("resume: no committed run of this model in %s", folder.location)
        return images
    if images.listing is not None:
        return images.part(listing_in(_without(listed_rows(folder.spark, images.listing), done)))
    # Images are never shuffled; rows that only say where they are may be.
    remaining = _without(images.df, F.broadcast(done) if holds_bytes(images.df) else done)
    return replace(images, df=remaining, inventory=images.inventory.part(run_action(remaining.count)))


def _done(folder: HadoopFolder, artifact: ModelArtifact, settings: Mapping[str, Any]) -> DataFrame | None:
    """The keys of the images that need no prediction any more; None where no run tells of any."""
    preprocess, detection = to_mapping(artifact.manifest.preprocess), detection_mapping(artifact.manifest)
    runs = [
        run for run in committed_runs(folder)
        if artifact.digest in run.model_digests and run.preprocess == preprocess and set(IMAGE_KEY) <= set(run.columns)
        # One payload may serve two model tasks.
        and run.task == artifact.manifest.task and run.detection == detection
    ]
    if not runs:
        return None
    rows = rows_of(folder, runs).where(_is_settled(runs, settings)).where(F.col("model_digest") == artifact.digest)
    return rows.select(canonical(F.col("path")).alias(_PLACE), *IMAGE_KEY[1:])


def _without(rows: DataFrame, done: DataFrame) -> DataFrame:
    keys = [_PLACE, *IMAGE_KEY[1:]]
    return rows.withColumn(_PLACE, canonical(F.col("path"))).join(done, keys, "left_anti").select(*rows.columns)


def _is_settled(runs: Sequence[RunManifest], settings: Mapping[str, Any]) -> Column:
    """Whether a row of `runs` is ok, or failed in a way that a job with `settings` cannot change."""
    settled = F.col("status") == "ok"
    for code in ErrorCode:
        final = [run.run_id for run in runs if code.is_final(run.settings, settings)]
        # Most codes last whatever the settings are; hundreds of runs need not be named for each.
        of_runs = F.lit(True) if len(final) == len(runs) else F.col("run_id").isin(final)
        settled |= (F.col("error_code") == code.value) & of_runs
    return settled
