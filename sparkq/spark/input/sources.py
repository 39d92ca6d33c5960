"""Sources of images: folders of files, Parquet with bytes, and lists of uris."""
from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]  # it ships no types
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession

from sparkq.errors import InputError
from sparkq.images.listing import Listing, list_local, list_uri
from sparkq.redaction import get_logger
from sparkq.spark.input.binary_file import driver_can_read, spark_read
from sparkq.spark.input.hadoop_listing import list_hadoop
from sparkq.spark.input.listing import listing_df
from sparkq.spark.input.paths import LITERAL_PATHS, spark_path
from sparkq.spark.input.tables import is_delta, is_parquet, listed_uris
from sparkq.spark.session.actions import run_action
from sparkq.spark.session.failures import root_message
from sparkq.spark.session.hadoop import hadoop_path
from sparkq.storage import local_path, shown

__all__ = ["FoundImages", "count_images", "find_images", "images_of", "read_images"]

_logger = get_logger(__name__)
_STORES = r"(s3[an]?|gs|gcs|abfss?)://"


@dataclass(frozen=True)
class FoundImages:
    """An input: its images, and of files the listing.

    Parameters
    ----------
    df : DataFrame
        As `read_images` gives it.
    listing : Listing, optional
        Where each image is a file that was found in a folder.
    """

    df: DataFrame
    listing: Listing | None = None

    @property
    def left_out(self) -> dict[str, int]:
        """How many files were left out on purpose, by reason."""
        return {} if self.listing is None else self.listing.left_out


def read_images(spark: SparkSession, path: str, *, input_format: str = "auto", glob: str | None = None) -> DataFrame:
    """Read images as a DataFrame.

    Parameters
    ----------
    spark : SparkSession
        A classic session.
    path : str
        A directory (searched recursively), one file, Parquet with a binary column, or a list of uris; local path or uri.
    input_format : str
        ``images``, ``parquet``, or ``auto``: Parquet if `path` ends in ``.parquet`` or is a folder of such files. A folder with
        ``_delta_log`` is read by Delta Lake, which knows the files that still count. ``uri``: Parquet with a string column of
        uris, or a text file with one a line; there, blank lines are skipped, and a relative path is relative to the text file.
    glob : str, optional
        Only files whose name matches, e.g. ``*.jpg``. Without it every file counts as an image, whatever its name: one that
        is none becomes an error row, it does not vanish. Only what writers and table formats keep for themselves
        (``_SUCCESS``, ``_temporary``, ...; see `sparkq.images.listing`) is left out, with a log line that counts it.

    Returns
    -------
    DataFrame
        ``path, modificationTime, length, content`` for files, of which workers read the content where it is used; ``uri`` for a
        text file; a Parquet's own columns otherwise.

    Raises
    ------
    InputError
        If there is nothing at `path`.
    """
    return find_images(spark, path, input_format=input_format, glob=glob).df


def find_images(spark: SparkSession, path: str, *, input_format: str = "auto", glob: str | None = None) -> FoundImages:
    """`read_images`, with the listing that it made; parameters and errors as there."""
    plain = spark_path(path)
    try:
        if input_format != "images" and is_parquet(spark, plain):
            input_format = "parquet"
        elif input_format == "auto":
            input_format = "images"
        if input_format == "images":
            listing = _listing(spark, path, plain, _matcher(spark, glob))
            _tell_left_out(path, listing)
            return images_of(spark, listing)
        # Spark takes every path for a pattern; one that is there as it stands is none.
        options = LITERAL_PATHS if _is_there(spark, plain) else {}
        if input_format == "uri":
            return FoundImages(listed_uris(spark, path, options))
        if is_delta(spark, plain):
            return FoundImages(spark.read.format("delta").load(plain))
        return FoundImages(spark.read.options(**options).parquet(plain))
    except (PySparkException, Py4JJavaError) as error:
        raise _told(error, path, "images" if input_format == "auto" else input_format) from error


def images_of(spark: SparkSession, listing: Listing) -> FoundImages:
    """The images of a listing, read by workers where they can, else by Spark."""
    by_workers = listing.images == 0 or driver_can_read(listing)
    return FoundImages(listing_df(spark, listing) if by_workers else spark_read(spark, listing), listing)


def _told(error: Exception, path: str, input_format: str) -> InputError:
    if "DATA_SOURCE_NOT_FOUND" in str(error):
        return InputError(
            f"input {shown(path)}: expected a session with Delta Lake for a folder with _delta_log; got one without.",
            hint="spark-submit --packages io.delta:delta-spark_2.13:VERSION, or give a plain Parquet folder.",
        )
    if "PATH_NOT_FOUND" in str(error):
        return InputError(f"input {shown(path)}: expected images; got no such path.", hint="check the path.")
    return InputError(
        f"input {shown(path)}: expected {input_format}; got {root_message(error)}.",
        hint="check the path, or give another --input-format.",
    )


def _matcher(spark: SparkSession, glob: str | None) -> Callable[[str], bool]:
    """Whether a name matches, by Hadoop's rules: ``*``, ``?``, ``[a-z]``, ``{jpg,png}``."""
    if glob is None:
        return lambda name: True
    jvm: Any = spark.sparkContext._jvm
    try:
        pattern = re.compile(str(jvm.org.apache.hadoop.fs.GlobPattern(glob).compiled().pattern()), re.DOTALL)
    except (Py4JJavaError, re.error) as error:
        raise InputError(
            f"glob: expected a pattern like *.jpg or *.{{jpg,png}}; got {glob!r}.",
            hint="quote it, so that the shell leaves it alone.",
        ) from error
    return lambda name: pattern.fullmatch(name) is not None


def _listing(spark: SparkSession, path: str, plain: str, matches: Callable[[str], bool]) -> Listing:
    local = local_path(plain)
    if local is not None and os.path.exists(local):
        # Not through the JVM: under a locale without UTF-8 it does not see half of the names.
        return list_local(os.fsdecode(local), matches)
    found = _stored(plain, matches) if re.match(_STORES, plain) else None
    if found is not None:
        return found
    listings = [list_hadoop(filesystem, root, path, matches) for root, filesystem in _roots(spark, plain)]
    if not listings:
        raise InputError(f"input {shown(path)}: expected images; got no such path.", hint="check the path.")
    return _joined(listings)


def _stored(plain: str, matches: Callable[[str], bool]) -> Listing | None:
    try:
        return list_uri(plain, matches)
    except (InputError, OSError, pa.ArrowException) as error:
        _logger.info("input: Spark's own connector lists %s, as pyarrow.fs cannot: %s", shown(plain), shown(str(error)))
        return None


def _roots(spark: SparkSession, plain: str) -> list[tuple[Any, Any]]:
    """The folders and files that a path names, which may be a pattern; as it stands, where something is there."""
    path, filesystem = hadoop_path(spark, plain)
    if filesystem.exists(path):
        return [(path, filesystem)]
    statuses = filesystem.globStatus(path)
    return [(status.getPath(), filesystem) for status in statuses or []]


def _joined(listings: list[Listing]) -> Listing:
    reasons = sorted({reason for listing in listings for reason in listing.left_out})
    left_out = {reason: sum(listing.left_out.get(reason, 0) for listing in listings) for reason in reasons}
    return Listing(pa.concat_tables([listing.table for listing in listings]).sort_by("path"), left_out)


def _tell_left_out(path: str, listing: Listing) -> None:
    if listing.left_out:
        counts = ", ".join(f"{count} {reason}" for reason, count in listing.left_out.items())
        _logger.info("input %s: %d files; left out: %s", shown(path), listing.images, counts)


def _is_there(spark: SparkSession, location: str) -> bool:
    path, filesystem = hadoop_path(spark, location)
    return bool(filesystem.exists(path))


def count_images(df: DataFrame, path: str) -> int:
    """Count the rows of `read_images`; no image is opened.

    Raises
    ------
    InputError
        If there is none.
    """
    images = run_action(df.count)
    if images == 0:
        raise InputError(f"input {shown(path)}: expected images; got none.", hint="check the path and the glob.")
    return images
