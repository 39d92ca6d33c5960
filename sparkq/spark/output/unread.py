"""Error rows for files that were listed and that Spark, where it opens them itself, then left out: gone or refused meanwhile.

Python workers answer for each path themselves. Spark's ``binaryFile`` can only fail the whole job or leave a file out without a
word, so it is told to leave it out, and what its rows lack is added from the listing.
"""
from __future__ import annotations

from collections.abc import Callable
from functools import partial

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import BinaryType

from sparkq.error_codes import ErrorCode
from sparkq.images.listing import Listing
from sparkq.redaction import get_logger
from sparkq.spark.input.listing import listed_rows
from sparkq.spark.session.actions import run_action
from sparkq.spark.session.hadoop import hadoop_path

__all__ = ["unread_rows"]

_logger = get_logger(__name__)
_LOOKED_UP = 1000
_GONE = "listed, but no longer there when its turn came"
_REFUSED = "listed, but Spark could not read it when its turn came: refused, or changed meanwhile"


def unread_rows(written: DataFrame, *, listing: Listing, predict: Callable[[DataFrame], DataFrame]) -> DataFrame:
    """Make an error row of each listed file that has no row. On the driver; runs a Spark action.

    Parameters
    ----------
    written : DataFrame
        The rows of an attempt, with a column ``path``.
    listing : Listing
        The job's files.
    predict : callable
        From images without content to error rows of the job's columns.

    Returns
    -------
    DataFrame
        ``not_found`` for files that are gone, ``read_failed`` for others, and for those beyond the first 1000, which are not
        looked up one by one.
    """
    spark = written.sparkSession
    unread = listed_rows(spark, listing).join(written.select("path"), "path", "left_anti")
    paths = [row["path"] for row in run_action(unread.select("path").limit(_LOOKED_UP).collect)]
    gone = run_action(partial(_gone, unread, paths))
    _logger.warning(
        "read: Spark could not read %s%d files that were listed, %d of which are gone: each gets an error row",
        "at least " if len(paths) == _LOOKED_UP else "", len(paths), len(gone),
    )
    rows = predict(unread.withColumn("content", F.lit(None).cast(BinaryType())))
    is_gone = F.col("path").isin(gone)
    code = F.when(is_gone, ErrorCode.NOT_FOUND.value).otherwise(ErrorCode.READ_FAILED.value)
    return rows.withColumn("error_code", code).withColumn("error_message", F.when(is_gone, _GONE).otherwise(_REFUSED))


def _gone(unread: DataFrame, paths: list[str]) -> list[str]:
    gone = []
    for place in paths:
        path, filesystem = hadoop_path(unread.sparkSession, place)
        if not filesystem.exists(path):
            gone.append(place)
    return gone
