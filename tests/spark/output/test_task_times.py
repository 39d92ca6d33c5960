"""Times of the tasks of one job, and of no other. tests/test_predicting.py holds them against a run's rows."""
from __future__ import annotations

import json
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession

import sparkq
from sparkq.runs.task_times import TaskTime
from sparkq.spark.output.task_times import _time, task_times


def test_tasks_of_another_job_are_not_counted(spark: SparkSession, images_df: DataFrame, tmp_path: Path) -> None:
    """Nor those of no job at all; a session's own descriptions are left as they are."""
    assert task_times(spark.sparkContext, "never described so") is None
    context = spark.sparkContext
    context.setJobDescription("mine")
    try:
        rows = images_df.selectExpr("path", "'ok' status", "cast(null as string) error_code", "'e' engine", "'d' model_digest")
        sparkq.write_predictions(rows, str(tmp_path / "o"))
        assert context.getLocalProperty("spark.job.description") == "mine"
        found = task_times(context, "mine")
    finally:
        context.setJobDescription(None)  # type: ignore[arg-type]
    written = json.loads(next((tmp_path / "o" / "_sparkq").glob("*.json")).read_text())["tasks"]
    assert written["rows"] == 60
    # The jobs that count and compact, not the one that predicts.
    assert found is None or found.to_mapping() != written


def test_only_the_attempt_that_succeeded_counts() -> None:
    """As Spark writes them: it has no duration of a task that took less than a millisecond."""
    task = {
        "index": 7, "executorId": "2", "host": "node", "status": "SUCCESS", "launchTime": 1_700_000_000_250, "duration": None,
        "taskMetrics": {"outputMetrics": {"recordsWritten": 3}},
    }
    assert _time(task) == TaskTime(7, "2 on node", 1_700_000_000.25, 0.0, 3)
    assert _time({**task, "duration": 1500}) == TaskTime(7, "2 on node", 1_700_000_000.25, 1.5, 3)
    assert [_time({**task, "status": status}) for status in ("FAILED", "KILLED", "RUNNING")] == [None] * 3


def test_where_spark_does_not_tell(spark: SparkSession) -> None:
    """Another Spark's internals: the run is committed all the same."""
    assert task_times(object(), "any") is None  # type: ignore[arg-type]
