"""What a run's manifest says of its tasks and its model, and that a report of a real run says the same."""
from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pyspark.sql import DataFrame, SparkSession

import sparkq
from sparkq.artifact import ModelArtifact
from sparkq.spark.task_times import task_times


@pytest.fixture(scope="module")
def manifest(
    spark: SparkSession, folder: Path, artifact: ModelArtifact, tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, object]:
    """Of a real run of sixty images, one of them broken."""
    place = tmp_path_factory.mktemp("run")
    artifact.save(str(place / "digits.sparkq"))
    images = place / "images"
    images.mkdir()
    for path in folder.iterdir():
        (images / path.name).write_bytes(path.read_bytes())
    (images / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    job = sparkq.PredictionJob(
        model=str(place / "digits.sparkq"), input=str(images), output=str(place / "out"), run_id="r", max_error_rate=0.5,
    )
    return sparkq.run_prediction_job(spark, job)


def test_tasks_of_a_run(manifest: dict[str, object]) -> None:
    """Every row was written by a task whose time is known; and the manifest is plain JSON, so that it can be handed on."""
    tasks = manifest["tasks"]
    assert isinstance(tasks, dict)
    assert tasks["rows"] == manifest["rows"] == 61
    assert tasks["measured"] == tasks["tasks"] == len(tasks["slowest"]) >= 2 and tasks["failed_attempts"] == 0
    assert 0 < tasks["shortest_seconds"] <= tasks["longest_seconds"] <= tasks["span_seconds"] <= manifest["seconds"]  # type: ignore[operator]
    assert manifest["started"] <= tasks["started"] <= manifest["ended"]  # type: ignore[operator]
    assert json.loads(json.dumps(tasks)) == tasks
    facts = manifest["artifact"]
    assert isinstance(facts, dict) and facts["digest"] == manifest["model_digest"] and json.loads(json.dumps(facts)) == facts


def test_report_of_a_run(manifest: dict[str, object]) -> None:
    """In a line from what the job returned; the figures are the rows'."""
    report = sparkq.RunReport.load(str(manifest["output"]), run_id=str(manifest["run_id"]))
    rows = pq.read_table(str(manifest["output"])).to_pylist()
    good = [row for row in rows if row["status"] == "ok"]
    assert (report.figures.rows, report.figures.errors) == (61, 1) and report.figures.error_codes == manifest["error_codes"]
    assert report.figures.highest[0].measure == max(row["score"] for row in good)
    assert sum(report.figures.labels.values()) == 60
    assert report.tasks is not None and report.tasks.rows == 61
    assert report.model is not None and report.model.name == manifest["model"]
    page = report.to_html()
    assert page.count("<img ") == 24 and "truncated_image" in page and "cannot be read any more" not in page


def test_tasks_of_another_job_are_not_counted(spark: SparkSession, images_df: DataFrame, tmp_path: Path) -> None:
    """Nor those of no job at all; a session's own descriptions are left as they are."""
    assert task_times(spark.sparkContext, "never described so") is None
    context = spark.sparkContext
    context.setJobDescription("mine")
    try:
        sparkq.write_predictions(images_df.selectExpr("path", "'ok' status", "null error_code", "'e' engine", "'d' model_digest"), str(tmp_path / "o"))
        assert context.getLocalProperty("spark.job.description") == "mine"
        found = task_times(context, "mine")
    finally:
        context.setJobDescription(None)  # type: ignore[arg-type]
    written = json.loads(next((tmp_path / "o" / "_sparkq").glob("*.json")).read_text())["tasks"]
    assert written["rows"] == 60
    # The jobs that count and compact, not the one that predicts.
    assert found is None or found.to_mapping() != written


def test_where_spark_does_not_tell(spark: SparkSession) -> None:
    """Another Spark's internals: the run is committed all the same."""
    assert task_times(object(), "any") is None  # type: ignore[arg-type]
