"""A listing of files as a DataFrame: Spark opens none of them, and reads their bytes only where the column is used."""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.functions import pandas_udf
from pyspark.sql.types import BinaryType

from sparkq.images.listing import Listing
from sparkq.spark.session.settings import session_settings

__all__ = ["IMAGE_KEY", "content_at", "is_listing", "listed_rows", "listing_df", "listing_in"]

IMAGE_KEY = ("path", "length", "modificationTime")
"""The columns that say whether a file is the same as one that was predicted before."""

_READ_BY_WORKERS = {"sparkq": "content of path, read by Python workers"}
# Nodes of a plan that leave each row what it was: its content is still that of its path.
_KEEPS_ROWS = {
    "Project", "Filter", "GlobalLimit", "LocalLimit", "Offset", "Sort", "Sample", "Repartition", "RepartitionByExpression",
    "LocalRelation", "LogicalRDD", "SubqueryAlias",
}


def listed_rows(spark: SparkSession, listing: Listing) -> DataFrame:
    """The files as rows with the columns of `IMAGE_KEY`. Their names go through no encoding of the JVM's."""
    arrow = {"spark.sql.execution.arrow.pyspark.enabled": "true", "spark.sql.execution.arrow.pyspark.fallback.enabled": "false"}
    with session_settings(spark, arrow):
        rows = spark.createDataFrame(
            listing.table.to_pandas(), "path string, length bigint, modified_microseconds bigint",
        )
    return rows.select("path", F.timestamp_micros("modified_microseconds").alias("modificationTime"), "length")


def listing_in(rows: DataFrame) -> Listing:
    """Bring rows with the columns of `IMAGE_KEY` to the driver. Runs a Spark action."""
    wanted = rows.select("path", "length", F.unix_micros("modificationTime").alias("modified_microseconds"))
    with session_settings(rows.sparkSession, {"spark.sql.execution.arrow.pyspark.enabled": "true"}):
        table = pa.Table.from_pandas(wanted.toPandas(), schema=pa.schema([
            ("path", pa.string()), ("length", pa.int64()), ("modified_microseconds", pa.int64()),
        ]), preserve_index=False)
    return Listing(table.sort_by("path"))


def listing_df(spark: SparkSession, listing: Listing) -> DataFrame:
    """The files as rows like those of ``binaryFile``: ``path, modificationTime, length, content``.

    Workers read ``content``, through ``pyarrow.fs``, where it is used; it is null where a file cannot be read.
    """
    rows = listed_rows(spark, listing)
    return rows.withColumn("content", content_at(F.col("path")))


def content_at(path: Column) -> Column:
    """The bytes at a column of paths; null where there are none to read."""
    # Predicting workers import this module, and must not pay for pandas.
    from sparkq.spark.input.contents import contents_at

    content: Column = pandas_udf(contents_at, BinaryType())(path)  # type: ignore[call-overload]  # its types miss iterators
    return content.alias("content", metadata=_READ_BY_WORKERS)


def is_listing(df: DataFrame) -> bool:
    """Whether each row of `df` is a file whose bytes are those at its path, so that workers may read it themselves."""
    content = [field for field in df.schema.fields if field.name == "content"]
    if not content or content[0].metadata != _READ_BY_WORKERS or "path" not in df.columns:
        return False
    return set(_node_names(df._jdf.queryExecution().analyzed())) <= _KEEPS_ROWS


def _node_names(plan: Any) -> Iterator[str]:
    yield str(plan.nodeName())
    for number in range(plan.children().size()):
        yield from _node_names(plan.children().apply(number))
