"""Whether Spark reads the files of a directory, or only lists them and each worker reads its own."""
from __future__ import annotations

import logging
from dataclasses import replace

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkq.config import InferenceConfig
from sparkq.errors import ImageError, InputError
from sparkq.images.read import read_object
from sparkq.spark.input.columns import find_content_column
from sparkq.spark.input.sources import is_file_source
from sparkq.spark.session.actions import run_action
from sparkq.storage import shown

__all__ = ["choose_reads", "without_unread_bytes"]

_logger = logging.getLogger(__name__)
_BINARY_FILE = {"path", "modificationTime", "length", "content"}


def choose_reads(images_df: DataFrame, config: InferenceConfig, *, read: str) -> tuple[DataFrame, InferenceConfig]:
    """Let the workers read the files that `read_images` found, where that is safe: rows and predictions are the same.

    Spark's ``binaryFile`` takes about as long for a photograph as decoding it, and does so while no worker computes.
    On the driver.

    Parameters
    ----------
    images_df : DataFrame
        As `sparkq.read_images` gives it, nothing done to it.
    config : InferenceConfig
        Of the job.
    read : str
        ``workers``, ``spark``, or ``auto``: workers read files of local and shared filesystems; objects of a store only if the
        driver can open the first one as they would, through ``pyarrow.fs``.

    Returns
    -------
    (DataFrame, InferenceConfig)
        For `sparkq.predict`.

    Raises
    ------
    InputError
        If workers shall read, and the images are not files; or there is no such ``content_column``.
    """
    if config.uri_column is not None or read == "spark":
        return images_df, config
    if not is_file_source(images_df):
        if read == "workers":
            raise InputError("read: expected a directory of images for 'workers'; got a table with the images themselves.")
        return images_df, config
    find_content_column(images_df.schema, config.content_column)
    if read == "auto" and not _driver_can_read(images_df):
        return images_df, config
    _logger.info("read: workers open the files themselves")
    return images_df.drop("content"), replace(config, uri_column="path", content_column=None)


def _driver_can_read(images_df: DataFrame) -> bool:
    first = run_action(images_df.select("path").where(F.col("length") > 0).first)
    if first is None or first["path"].startswith("file:"):
        return True
    try:
        read_object(first["path"])
    except ImageError as error:
        _logger.info("read: Spark opens the files, as pyarrow.fs cannot open %s here: %s", shown(first["path"]), error)
        return False
    return True


def without_unread_bytes(images_df: DataFrame, config: InferenceConfig) -> DataFrame:
    """``binaryFile`` rows without ``content``, where workers read: Spark then opens no file. On the driver."""
    unread = config.uri_column is not None and set(images_df.columns) >= _BINARY_FILE
    return images_df.drop("content") if unread else images_df
