"""Tables as inputs: what a path holds, and lists of uris."""
from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from sparkq.spark.input.paths import spark_path
from sparkq.spark.session.hadoop import hadoop_path
from sparkq.storage import is_uri, local_path

__all__ = ["is_delta", "is_parquet", "listed_uris"]


def listed_uris(spark: SparkSession, path: str, options: Mapping[str, str]) -> DataFrame:
    """The lines of a text file, read with `options`, as a column ``uri``; relative ones are relative to the file."""
    text = spark.read.options(**options).text(spark_path(path))
    lines = text.select(F.trim(F.regexp_replace("value", "\\s+$", "")).alias("uri")).where("uri != ''")
    listed, filesystem = hadoop_path(spark, spark_path(path))
    if not filesystem.exists(listed) or not filesystem.getFileStatus(listed).isFile():
        # Of several files together nobody says which folder is meant: a relative path becomes an error row.
        return lines
    folder = os.path.dirname(path if is_uri(path) else os.path.abspath(path))
    absolute = F.col("uri").rlike(r"^(/|[A-Za-z][A-Za-z0-9+.-]+:/)")
    return lines.select(F.when(absolute, F.col("uri")).otherwise(F.concat(F.lit(f"{folder}/"), F.col("uri"))).alias("uri"))


def is_delta(spark: SparkSession, location: str) -> bool:
    """Whether a folder is a table of Delta Lake."""
    log, filesystem = hadoop_path(spark, f"{location.rstrip('/')}/_delta_log")
    return bool(filesystem.exists(log))


def is_parquet(spark: SparkSession, location: str) -> bool:
    """Whether a path is a Parquet file, or a folder of such files by the name of the first file in it."""
    if location.rstrip("/").endswith((".parquet", ".parq")):
        return True
    local = local_path(location)
    if local is not None:
        # Not through the JVM, which under a locale without UTF-8 does not see half of the names.
        return os.path.isdir(local) and (os.path.isdir(os.path.join(local, b"_delta_log")) or _holds_parquet(local))
    return is_delta(spark, location) or _stores_parquet(spark, location)


def _holds_parquet(folder: bytes) -> bool:
    with os.scandir(folder) as entries:
        first = next((entry.name for entry in entries if entry.is_file() and not entry.name.startswith((b"_", b"."))), b"")
    return first.endswith(b".parquet")


def _stores_parquet(spark: SparkSession, location: str) -> bool:
    folder, filesystem = hadoop_path(spark, location)
    if not filesystem.exists(folder) or not filesystem.getFileStatus(folder).isDirectory():
        return False
    # An iterator, and only until the first file that says what the folder is: it may hold millions.
    statuses: Any = filesystem.listStatusIterator(folder)
    while statuses.hasNext():
        status = statuses.next()
        name = str(status.getPath().getName())
        if status.isFile() and not name.startswith(("_", ".")):
            return name.endswith(".parquet")
    return False
