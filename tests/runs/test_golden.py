"""A run that an earlier commit wrote: every reader takes it as it stands."""
from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
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
    model = str(ARTIFACTS / "classification_protocol4.sparkq")
    _as_of(output, sparkq.ModelArtifact.load(model).digest)
    job = sparkq.PredictionJob(
        model=model, input=str(GOLDEN / "images.parquet"), output=output,
        resume=True, run_id="again",
    )
    again = sparkq.run_prediction_job(spark, job)
    assert (again["rows"], again["skipped"]) == (0, 34)


def _as_of(output: str, digest: str) -> None:
    """Put another model's digest into the run: its own was of protocol 3, which is not read any more."""
    manifests, rows = list(Path(output).rglob("*.json")), list(Path(output).rglob("*.parquet"))
    old = pq.read_table(rows[0]).column("model_digest")[0].as_py()
    for path in manifests:
        path.write_text(path.read_text(encoding="utf-8").replace(old, digest), encoding="utf-8")
    for path in rows:
        table = pq.read_table(path, partitioning=None)
        place = table.schema.get_field_index("model_digest")
        values = pa.array([digest] * len(table), table.schema.field(place).type)
        # As Spark writes them.
        pq.write_table(table.set_column(place, table.schema.field(place), values), path, use_deprecated_int96_timestamps=True)


def test_a_manifest_without_a_number_is_refused() -> None:
    """No release wrote one."""
    with pytest.raises(InputError, match="got one without a number") as caught:
        RunManifest.loads((GOLDEN / "without_protocol.json").read_bytes(), place="golden")
    assert caught.value.hint is not None and "sparkq predict" in caught.value.hint
