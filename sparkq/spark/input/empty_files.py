"""Files of zero bytes: Spark's file sources leave them out, and here every file is one row."""
from __future__ import annotations

import datetime
from typing import Any

from pyspark.sql import DataFrame

__all__ = ["with_empty_files"]

# Zero-byte objects by which EMR and old Hadoop mark a folder on S3.
_FOLDER_MARKER = "_$folder$"


def with_empty_files(files: DataFrame) -> DataFrame:
    """Add the files of zero bytes that Spark has listed and left out.

    Parameters
    ----------
    files : DataFrame
        As ``spark.read.format("binaryFile").load(...)`` gives it, nothing done to it yet.

    Returns
    -------
    DataFrame
        The same where there is no such file.
    """
    index = files._jdf.queryExecution().analyzed().relation().location()
    collections = files.sparkSession.sparkContext._jvm.scala.collection.immutable  # type: ignore[union-attr]
    nothing = getattr(getattr(collections, "Nil$"), "MODULE$")
    listed, read = index.allFiles(), index.listFiles(nothing, nothing)
    # Two numbers of the listing that Spark holds anyway; only if they differ is it walked through.
    if listed.size() == read.apply(0).files().size():
        return files
    rows = [_row(status) for status in _iterate(listed) if status.getLen() == 0]
    rows = [row for row in rows if not row[0].endswith(_FOLDER_MARKER)]
    return files.unionByName(files.sparkSession.createDataFrame(rows, files.schema)) if rows else files


def _iterate(sequence: Any) -> Any:
    iterator = sequence.iterator()
    while iterator.hasNext():
        yield iterator.next()


def _row(status: Any) -> tuple[str, datetime.datetime, int, bytearray]:
    modified = datetime.datetime.fromtimestamp(status.getModificationTime() / 1000, datetime.timezone.utc)
    return status.getPath().toString(), modified, 0, bytearray()
