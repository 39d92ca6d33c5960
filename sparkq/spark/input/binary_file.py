"""Files that Spark reads itself, where workers cannot: ``binaryFile`` over a listing of ours."""
from __future__ import annotations

from typing import Any

import pyarrow.compute as pc
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from sparkq.images.listing import Listing
from sparkq.images.read import why_unreadable
from sparkq.redaction import get_logger
from sparkq.spark.input.listing import content_at, listed_rows
from sparkq.spark.input.paths import LITERAL_PATHS
from sparkq.spark.session.actions import run_action
from sparkq.spark.session.settings import session_settings
from sparkq.storage import local_path, shown

__all__ = ["driver_can_read", "spark_read"]

_logger = get_logger(__name__)
_LISTING_TASKS = "spark.sql.sources.parallelPartitionDiscovery.parallelism"
# Names that Spark's file sources leave out, whoever gives them.
_HIDDEN = r"(^|/)([_.][^/]*|[^/]*\._COPYING_)$"


def driver_can_read(listing: Listing) -> bool:
    """Whether Python reads the files of a listing: local ones always, objects of a store if it can open the first of them."""
    filled = listing.table.filter(pc.greater(listing.lengths, 0))
    if filled.num_rows == 0 or local_path(filled.column("path")[0].as_py()) is not None:
        return True
    first = filled.column("path")[0].as_py()
    error = why_unreadable(first)
    if error is not None:
        _logger.info("read: Spark opens the files, as pyarrow.fs cannot open %s here: %s", shown(first), error)
    return error is None


def spark_read(spark: SparkSession, listing: Listing) -> DataFrame:
    """The files as ``path, modificationTime, length, content``, of which Spark's executors read the content.

    A file that Spark cannot read any more has no row here: whoever writes the rows adds it
    (`sparkq.spark.output.unread`). Files of zero bytes and those whose names Spark leaves out come beside the others.
    """
    rows = listed_rows(spark, listing)
    left_out = (F.col("length") == 0) | F.col("path").rlike(_HIDDEN) | F.col("path").startswith("file+percent:")
    empty = (F.col("length") == 0) & ~F.col("path").startswith("file")
    content = F.when(empty, F.lit(bytearray())).otherwise(content_at(F.col("path")))
    others = rows.where(left_out).withColumn("content", content)
    read = _binary_file(spark, rows.where(~left_out).select("path"))
    return others if read is None else read.select("path", "modificationTime", "length", "content").unionByName(others)


def _binary_file(spark: SparkSession, paths: DataFrame) -> DataFrame | None:
    """The paths stay in the driver's JVM: no Python list is made of them."""
    jvm: Any = spark.sparkContext._jvm
    strings = getattr(paths._jdf, "as")(jvm.org.apache.spark.sql.Encoders.STRING())
    listed = run_action(strings.collectAsList)
    if listed.isEmpty():
        return None
    reader = spark.read.format("binaryFile").option("recursiveFileLookup", "true")
    reader = reader.options(ignoreMissingFiles="true", ignoreCorruptFiles="true", **LITERAL_PATHS)
    # Spark looks each file up in a job of its own, of up to 10 000 tasks by default: one a file.
    with session_settings(spark, {_LISTING_TASKS: str(4 * spark.sparkContext.defaultParallelism)}):
        loaded = run_action(lambda: reader._jreader.load(jvm.PythonUtils.toSeq(listed)))
    return DataFrame(loaded, spark)
