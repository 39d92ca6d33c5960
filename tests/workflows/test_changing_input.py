"""Files that change between the listing and their turn: each is one row, whoever reads, and the job goes on."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

import sparkq
from sparkq.config import PredictionJob
from sparkq.workflows import predict as workflow
from tests.models import digit_files, digits_artifact

IMAGES = 12


@pytest.fixture
def input_folder(tmp_path: Path) -> Path:
    """Scans."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number, content in enumerate(digit_files(IMAGES)):
        (folder / f"{number:02d}.png").write_bytes(content)
    return folder


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A trained artifact."""
    digits_artifact().save(str(tmp_path / "m.sparkq"))
    return str(tmp_path / "m.sparkq")


def _meanwhile(folder: Path) -> None:
    """A busy folder: deleted, made a folder, cut off, grown, replaced by another image."""
    names = sorted(folder.iterdir())
    names[0].unlink()
    names[1].unlink()
    names[1].mkdir()
    names[2].write_bytes(names[2].read_bytes()[:40])
    names[3].write_bytes(names[3].read_bytes() + b"\0" * 1000)
    names[4].write_bytes(names[5].read_bytes())


@pytest.mark.parametrize("read", ["workers", "spark"])
def test_each_file_is_one_row(
    spark: SparkSession, model: str, input_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: str,
) -> None:
    """Nothing vanishes and nothing stops the others; ``--resume`` tries again what was there no more."""
    settle = workflow.settle

    def settle_late(*arguments: Any) -> Any:
        _meanwhile(input_folder)
        return settle(*arguments)

    monkeypatch.setattr(workflow, "settle", settle_late)
    job = PredictionJob(
        model=model, input=str(input_folder), output=str(tmp_path / "out"), read=read, max_error_rate=1.0,
    )
    result = sparkq.run_prediction_job(spark, job)
    rows = {Path(row["path"]).name: row for row in sparkq.read_predictions(spark, job.output).collect()}
    assert result["rows"] == len(rows) == IMAGES
    codes = [rows[name]["error_code"] for name in sorted(rows)]
    assert codes[0] == "not_found" and codes[1] in ("not_found", "read_failed")
    assert codes[2] in ("truncated_image", "read_failed") and set(codes[5:]) == {None}
    assert all(row["status"] == ("error" if row["error_code"] else "ok") and row["model_digest"] for row in rows.values())
    assert all(row["error_message"] for row in rows.values() if row["error_code"])


def test_a_folder_that_is_emptied(
    spark: SparkSession, model: str, input_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By Spark's own reads, which then give no row at all."""
    settle = workflow.settle

    def settle_late(*arguments: Any) -> Any:
        for path in input_folder.iterdir():
            path.unlink()
        return settle(*arguments)

    monkeypatch.setattr(workflow, "settle", settle_late)
    job = PredictionJob(
        model=model, input=str(input_folder), output=str(tmp_path / "out"), read="spark", max_error_rate=1.0,
    )
    assert sparkq.run_prediction_job(spark, job)["error_codes"] == {"not_found": IMAGES}
