"""A session is left as it was found."""
from __future__ import annotations

import pytest
from pyspark.sql import SparkSession

from sparkq.planning.partitions import scan_settings
from sparkq.spark.session.settings import arrow_settings, session_settings

ROWS, OPEN_COST = "spark.sql.execution.arrow.maxRecordsPerBatch", "spark.sql.files.openCostInBytes"


def _all(spark: SparkSession) -> dict[str, str]:
    return {row["key"]: row["value"] for row in spark.sql("SET").collect()}


@pytest.mark.parametrize("fails", [False, True])
def test_set_and_restored(spark: SparkSession, fails: bool) -> None:
    """What a user set is set again, what nobody set is unset again; also after an error."""
    spark.conf.set(OPEN_COST, "12345")
    spark.conf.unset(ROWS)
    try:
        before = _all(spark)
        assert ROWS not in before
        wanted = {**scan_settings(8, file_cost_bytes=99), **arrow_settings(mean_bytes=1e6, largest_bytes=2e6)}
        with pytest.raises(ZeroDivisionError) if fails else session_settings(spark, {}):
            with session_settings(spark, wanted):
                assert (spark.conf.get(ROWS), spark.conf.get(OPEN_COST)) == ("67", "99")
                assert _all(spark) != before
                assert not fails or 1 / 0
        assert _all(spark) == before
    finally:
        spark.conf.unset(OPEN_COST)


def test_settings_of_other_versions_are_left_out(spark: SparkSession) -> None:
    before = _all(spark)
    with session_settings(spark, {"spark.sql.execution.arrow.ofTheFuture": "1"}):
        assert _all(spark) == before


def test_a_wrong_value_changes_nothing(spark: SparkSession) -> None:
    """The first was set, the second was refused."""
    before = _all(spark)
    with pytest.raises(Exception, match="openCostInBytes"), session_settings(spark, {ROWS: "5", OPEN_COST: "many"}):
        pass
    assert _all(spark) == before
