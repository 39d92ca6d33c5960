"""What committed runs have not predicted yet, found from metadata: no image is opened for it, no list of them made in Python."""
from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkq.artifact.file import ModelArtifact
from sparkq.artifact.manifest import detection_mapping
from sparkq.config.parsing import to_mapping
from sparkq.errors import InputError
from sparkq.spark.input.inventory import holds_bytes
from sparkq.spark.input.sources import is_file_source, read_listed
from sparkq.spark.output.commit import committed_runs
from sparkq.spark.output.read import rows_of
from sparkq.spark.session.actions import run_action
from sparkq.spark.session.hadoop import HadoopFolder

__all__ = ["IMAGE_KEY", "LASTING_ERRORS", "remaining_images"]

IMAGE_KEY = ("path", "length", "modificationTime")
"""With the model's digest and its preprocessing, what makes an image the same."""

LASTING_ERRORS = (
    "empty_content", "not_an_image", "image_too_large", "truncated_image", "corrupt_image", "unsupported_image", "invalid_output",
)
"""Error codes that the same bytes will have again. Images with others (they could not be read) are tried again."""

_logger = logging.getLogger(__name__)


def remaining_images(
    images_df: DataFrame, folder: HadoopFolder, artifact: ModelArtifact, *, max_image_pixels: int,
) -> tuple[DataFrame, int]:
    """The images that no committed run has predicted with this model. Runs a Spark action for it.

    Parameters
    ----------
    images_df : DataFrame
        As `sparkq.read_images` gives it: files, or a table with the columns of `IMAGE_KEY`. A table's rows are compared with a
        broadcast of the keys, so that no image is shuffled.
    folder : HadoopFolder
        The output.
    artifact : ModelArtifact
        Whose digest and preprocessing, and of a detection the thresholds, a run must have.
    max_image_pixels : int
        Of a run with another limit, images that were too large are tried again.

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
        if artifact.digest in run["model_digests"] and run.get("preprocess") == preprocess and set(IMAGE_KEY) <= _columns(run)
        # One payload may serve two tasks. Manifests name the task since there are several.
        and (run.get("task") or "classification") == artifact.manifest.task and run.get("detection") == detection
    ]
    if not runs:
        _logger.info("resume: no committed run of this model in %s", folder.location)
        return images_df, run_action(images_df.count)
    done = reduce(DataFrame.union, [
        _settled(folder, [run for run in runs if _same_limit(run, max_image_pixels) is same], artifact, too_large_again=not same)
        for same in {_same_limit(run, max_image_pixels) for run in runs}
    ])
    if not is_file_source(images_df):
        # Images are never shuffled; rows that only say where they are may be.
        keys = F.broadcast(done) if holds_bytes(images_df) else done
        remaining = images_df.join(keys, list(IMAGE_KEY), "left_anti")
        return remaining, run_action(remaining.count)
    listed = images_df.select(*IMAGE_KEY).join(done, list(IMAGE_KEY), "left_anti")
    return read_listed(listed.select("path"), images_df)


def _same_limit(run: Mapping[str, Any], max_image_pixels: int) -> bool:
    return bool(run.get("settings", {}).get("max_image_pixels") == max_image_pixels)


def _settled(
    folder: HadoopFolder, runs: Sequence[Mapping[str, Any]], artifact: ModelArtifact, *, too_large_again: bool,
) -> DataFrame:
    rows = rows_of(folder, runs)
    lasting = [code for code in LASTING_ERRORS if not (too_large_again and code == "image_too_large")]
    settled = (F.col("status") == "ok") | F.col("error_code").isin(lasting)
    return rows.where(settled & (F.col("model_digest") == artifact.digest)).select(*IMAGE_KEY)


def _columns(run: Mapping[str, Any]) -> set[str]:
    return {field["name"] for field in run["schema"]["fields"]}
