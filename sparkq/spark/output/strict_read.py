"""Parquet files of ours, read so that none can be left out."""
from __future__ import annotations

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

from sparkq.spark.input.paths import LITERAL_PATHS

__all__ = ["read_strictly"]


def read_strictly(spark: SparkSession, schema: StructType, *locations: str, base: str | None = None) -> DataFrame:
    """Parquet files of which none may be missing or broken, whatever the session's settings allow."""
    reader = spark.read.schema(schema).option("ignoreCorruptFiles", "false").option("ignoreMissingFiles", "false")
    reader = reader if base is None else reader.option("basePath", base)
    return reader.options(**LITERAL_PATHS).parquet(*locations)
