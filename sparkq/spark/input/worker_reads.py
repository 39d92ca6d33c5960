"""Whether Spark reads the files of a folder, or each worker reads its own."""
from __future__ import annotations

from dataclasses import replace

from pyspark.sql import DataFrame

from sparkq.config import InferenceConfig
from sparkq.errors import InputError
from sparkq.redaction import get_logger
from sparkq.spark.input.binary_file import spark_read
from sparkq.spark.input.columns import find_content_column
from sparkq.spark.input.listing import IMAGE_KEY, is_listing
from sparkq.spark.input.sources import FoundImages

__all__ = ["choose_reads", "read_by_workers"]

_logger = get_logger(__name__)
_FILE_COLUMNS = {*IMAGE_KEY, "content"}


def choose_reads(found: FoundImages, config: InferenceConfig, *, read: str) -> tuple[DataFrame, InferenceConfig]:
    """Let the workers read the files that were found, where they can: rows and predictions are the same. On the driver.

    Spark's ``binaryFile`` takes about as long for a photograph as decoding it, and does so while no worker computes.

    Parameters
    ----------
    found : FoundImages
        From `sparkq.spark.input.sources.find_images`.
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
    if config.uri_column is not None:
        return found.df, config
    if found.listing is None:
        if read == "workers":
            raise InputError(
                "read: expected a directory of images for 'workers'; got a table with the images themselves.",
                hint="leave --read out.",
            )
        return found.df, config
    find_content_column(found.df.schema, config.content_column)
    if read == "spark":
        return spark_read(found.df.sparkSession, found.listing), config
    if read == "auto" and not is_listing(found.df):
        return found.df, config
    _logger.info("read: workers open the files themselves")
    return _without_content(found.df, config)


def read_by_workers(images_df: DataFrame, config: InferenceConfig) -> tuple[DataFrame, InferenceConfig]:
    """Leave out the bytes of files that `sparkq.read_images` found, where workers read them at their paths. On the driver."""
    if config.uri_column is not None and set(images_df.columns) >= _FILE_COLUMNS:
        return images_df.drop("content"), config
    if config.uri_column is None and config.content_column in (None, "content") and is_listing(images_df):
        return _without_content(images_df, config)
    return images_df, config


def _without_content(images_df: DataFrame, config: InferenceConfig) -> tuple[DataFrame, InferenceConfig]:
    return images_df.drop("content"), replace(config, uri_column="path", content_column=None)
