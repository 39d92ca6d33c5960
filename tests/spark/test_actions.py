"""Actions in a thread of their own give what they give in the caller's; `test_predict` interrupts one for real."""
from __future__ import annotations

import pytest
from pyspark.errors import AnalysisException
from pyspark.sql import SparkSession

from sparkq.spark.actions import run_action


def test_result_and_error(spark: SparkSession) -> None:
    """The action's own."""
    assert run_action(spark.range(3).count) == 3
    with pytest.raises(AnalysisException, match="absent"):
        run_action(lambda: spark.table("absent"))


def test_jobs_belong_to_the_callers_group(spark: SparkSession) -> None:
    """Who has named a job group, as notebooks do to show progress or to cancel, finds the jobs in it."""
    context = spark.sparkContext
    context.setJobGroup("mine", "as a notebook does")
    try:
        run_action(spark.range(3).count)
        assert len(context.statusTracker().getJobIdsForGroup("mine")) > 0
    finally:
        context.setLocalProperty("spark.jobGroup.id", None)
