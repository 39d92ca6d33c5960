"""Hadoop's view of a path: the filesystem that Spark itself reads and writes with."""
from __future__ import annotations

from typing import Any

from pyspark.sql import SparkSession

__all__ = ["hadoop_path"]


def hadoop_path(spark: SparkSession, location: str) -> tuple[Any, Any]:
    """(``org.apache.hadoop.fs.Path``, its ``FileSystem``) as Java objects. On the driver, classic sessions only."""
    context = spark.sparkContext
    path = context._jvm.org.apache.hadoop.fs.Path(location)  # type: ignore[union-attr]
    return path, path.getFileSystem(context._jsc.hadoopConfiguration())  # type: ignore[attr-defined]
