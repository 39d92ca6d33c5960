"""Find the images that committed runs have not predicted yet, from metadata: no image is opened, no list made in Python."""
from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from sparkq.artifact.file import ModelArtifact
from sparkq.artifact.manifest import detection_mapping
from sparkq.config import InferenceConfig
from sparkq.config.parsing import to_mapping
from sparkq.error_codes import ErrorCode
from sparkq.errors import InputError
from sparkq.runs.manifest import RunManifest
from sparkq.spark.input.inventory import holds_bytes
from sparkq.spark.input.sources import is_file_source, read_listed
from sparkq.spark.output.commit import committed_runs
from sparkq.spark.output.read import rows_of
from sparkq.spark.session.actions import run_action
from sparkq.spark.session.hadoop import HadoopFolder

__all__ = ["IMAGE_KEY", "remaining_images"]

IMAGE_KEY = ("path", "length", "modificationTime")
"""With the model's digest and its preprocessing, what makes an image the same."""

_logger = logging.getLogger(__name__)


def remaining_images(
    images_df: DataFrame, folder: HadoopFolder, artifact: ModelArtifact, *, config: InferenceConfig,
) -> tuple[DataFrame, int]:
    """Leave out the images that a committed run has predicted with this model. Runs a Spark action for it.

    An image that failed is left out, too, if its `ErrorCode` lasts and `config` has no setting that may cure it: one that was
    too large is tried again once a limit has been raised.

    Parameters
    ----------
    images_df : DataFrame
        As `sparkq.read_images` gives it: files, or a table with the columns of `IMAGE_KEY`. A table's rows are compared with a
        broadcast of the keys, so that no image is shuffled.
    folder : HadoopFolder
        The output.
    artifact : ModelArtifact
        Whose digest and preprocessing, and of a detection the thresholds, a run must have.
    config : InferenceConfig
        The limits and the engine of the job that resumes.

    Returns
    -------
    (DataFrame, int)
        Of the same columns, and its number of rows.

    Raises
    ------
    InputError
        If the images have no such columns.
    """
    missing = [name for name in IMAGE_KEY if name not in images_df.columns]
    if missing:
        raise InputError(
            f"resume: expected the columns {', '.join(IMAGE_KEY)}, which say whether an image is the same; got no "
            f"{', '.join(missing)} among {', '.join(images_df.columns)}.",
            hint="add them to the table, or run without --resume.",
        )
    preprocess, detection = to_mapping(artifact.manifest.preprocess), detection_mapping(artifact.manifest)
    runs = [
        run for run in committed_runs(folder)
        if artifact.digest in run.model_digests and run.preprocess == preprocess and set(IMAGE_KEY) <= set(run.columns)
        # One payload may serve two model tasks.
        and run.task == artifact.manifest.task and run.detection == detection
    ]
    if not runs:
        _logger.info("resume: no committed run of this model in %s", folder.location)
        return images_df, run_action(images_df.count)
    rows = rows_of(folder, runs).where(_is_settled(runs, to_mapping(config)))
    done = rows.where(F.col("model_digest") == artifact.digest).select(*IMAGE_KEY)
    if not is_file_source(images_df):
        # Images are never shuffled; rows that only say where they are may be.
        keys = F.broadcast(done) if holds_bytes(images_df) else done
        remaining = images_df.join(keys, list(IMAGE_KEY), "left_anti")
        return remaining, run_action(remaining.count)
    listed = images_df.select(*IMAGE_KEY).join(done, list(IMAGE_KEY), "left_anti")
    return read_listed(listed.select("path"), images_df)


def _is_settled(runs: Sequence[RunManifest], settings: Mapping[str, Any]) -> Column:
    """Whether a row of `runs` is ok, or failed in a way that a job with `settings` cannot change."""
    settled = F.col("status") == "ok"
    for code in ErrorCode:
        final = [run.run_id for run in runs if code.is_final(run.settings, settings)]
        # Most codes last whatever the settings are; hundreds of runs need not be named for each.
        of_runs = F.lit(True) if len(final) == len(runs) else F.col("run_id").isin(final)
        settled |= (F.col("error_code") == code.value) & of_runs
    return settled
