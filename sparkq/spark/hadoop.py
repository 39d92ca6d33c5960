"""Hadoop's view of a path: the filesystem that Spark itself reads and writes with."""
from __future__ import annotations

from typing import Any

from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]  # it ships no types
from pyspark.sql import SparkSession

from sparkq.errors import InputError

__all__ = ["hadoop_path"]


def hadoop_path(spark: SparkSession, location: str) -> tuple[Any, Any]:
    """(``org.apache.hadoop.fs.Path``, its ``FileSystem``) as Java objects. On the driver, classic sessions only.

    Raises
    ------
    InputError
        If Spark has no such filesystem, for example S3 without ``hadoop-aws``.
    """
    context = spark.sparkContext
    path = context._jvm.org.apache.hadoop.fs.Path(location)  # type: ignore[union-attr]
    try:
        return path, path.getFileSystem(context._jsc.hadoopConfiguration())
    except Py4JJavaError as error:
        raise InputError(
            f"{location}: expected a filesystem that Spark can reach; got {error.java_exception.getMessage()}.",
            hint="check the uri; S3 outside EMR needs --packages org.apache.hadoop:hadoop-aws.",
        ) from error
