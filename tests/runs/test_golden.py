"""A run that an earlier commit wrote: every reader takes it as it stands."""
from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

import sparkq
from sparkq.errors import InputError
from sparkq.runs.manifest import PROTOCOL, RunManifest
from tests.artifact.test_golden import GOLDEN as ARTIFACTS

GOLDEN = Path(__file__).with_name("golden")


@pytest.fixture
def output(tmp_path: Path) -> str:
    """A copy, for readers that may write."""
    return str(shutil.copytree(GOLDEN / f"protocol{PROTOCOL}", tmp_path / "out"))


def test_the_report(output: str) -> None:
    """Figures from its rows, facts from its manifest."""
    report = sparkq.RunReport.load(output)
    assert (report.figures.rows, report.figures.errors, report.run_id) == (34, 2, "golden")
    assert report.model is not None and report.tasks is not None and report.manifest.drift is not None
    assert "34" in report.to_html(images=False)


def test_rows_and_resume(spark: SparkSession, output: str) -> None:
    """Its rows are read, and what it predicted is not predicted again, by the model of the golden artifact."""
    rows = sparkq.read_predictions(spark, output)
    assert rows.count() == 34 and rows.where("status = 'ok'").count() == 32
    job = sparkq.PredictionJob(
        model=str(ARTIFACTS / "classification_protocol3.sparkq"), input=str(GOLDEN / "images.parquet"), output=output,
        resume=True, run_id="again",
    )
    again = sparkq.run_prediction_job(spark, job)
    assert (again["rows"], again["skipped"]) == (0, 34)


def test_a_manifest_without_a_number_is_refused() -> None:
    """No release wrote one."""
    with pytest.raises(InputError, match="got one without a number") as caught:
        RunManifest.loads((GOLDEN / "without_protocol.json").read_bytes(), place="golden")
    assert caught.value.hint is not None and "sparkq predict" in caught.value.hint
