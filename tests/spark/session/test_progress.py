"""The progress bar: what it counts, who sees it, and that no job is the worse for it."""
from __future__ import annotations

import io
import os
import sys
import threading
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

import sparkq
from sparkq.artifact.file import ModelArtifact
from sparkq.spark.session.progress import shown_progress
from tests.spark.conftest import IMAGES


@pytest.fixture
def job(artifact: ModelArtifact, folder: Path, tmp_path: Path) -> sparkq.PredictionJob:
    """Sixty scans."""
    artifact.save(str(tmp_path / "digits.sparkq"))
    return sparkq.PredictionJob(model=str(tmp_path / "digits.sparkq"), input=str(folder), output=str(tmp_path / "out"))


def _polls() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "sparkq-progress"]


def test_a_job_with_a_bar(spark: SparkSession, job: sparkq.PredictionJob, capsys: pytest.CaptureFixture[str]) -> None:
    """All images, their rate, on standard error alone; no thread and no tag is left."""
    before = set(threading.enumerate())
    result = sparkq.run_prediction_job(spark, job, progress=True)
    told = capsys.readouterr()
    last = told.err.replace("\r", "\n").strip().splitlines()[-1]
    assert f"{IMAGES}/{IMAGES}" in last and "100%" in last and "images/s" in last
    assert (result["rows"], told.out) == (IMAGES, "")
    left = {thread.name for thread in set(threading.enumerate()) - before}
    assert not any("progress" in name or "tqdm" in name for name in left), left
    assert "sparkq-" not in str(spark.sparkContext.getLocalProperty("spark.job.tags"))


@pytest.mark.parametrize("progress", [None, False])
def test_no_bar_where_nobody_looks(
    spark: SparkSession, job: sparkq.PredictionJob, capsys: pytest.CaptureFixture[str], progress: bool | None,
) -> None:
    """Standard error is a file here, as in a scheduler's log."""
    sparkq.run_prediction_job(spark, job, progress=progress)
    assert "images/s" not in capsys.readouterr().err


def test_it_counts_what_tasks_have_written(
    spark: SparkSession, folder: Path, artifact: ModelArtifact, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """While the job runs, and rows alone: not those that tasks read, shuffle or count. Jobs without the tag are others'."""
    files = spark.read.format("binaryFile").load(str(folder)).repartition(3)
    predictions = sparkq.predict(files, artifact)
    with shown_progress(spark, 2 * IMAGES, progress=True):
        predictions.write.parquet(str(tmp_path / "rows"))
        assert spark.read.parquet(str(tmp_path / "rows")).count() == IMAGES
        seen = ""
        for _ in range(40):
            seen += capsys.readouterr().err
            if f"{IMAGES}/{2 * IMAGES}" in seen:
                break
            threading.Event().wait(0.25)
        assert f"{IMAGES}/{2 * IMAGES}" in seen and f" {2 * IMAGES}/{2 * IMAGES}" not in seen


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_a_job_that_ends_early(spark: SparkSession, error: type[BaseException], capsys: pytest.CaptureFixture[str]) -> None:
    """The error is the job's own; the bar stays where it was, and its thread ends."""
    with pytest.raises(error), shown_progress(spark, 10, progress=True):
        raise error
    assert "0/10" in capsys.readouterr().err
    assert _polls() == []


def test_a_bar_that_cannot_be_drawn_fails_nothing(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal that was closed meanwhile."""
    far, near = os.openpty()
    # No buffer: what cannot be written would be tried again when the stream is closed.
    stream = io.TextIOWrapper(open(near, "wb", buffering=0), write_through=True)  # type: ignore[arg-type]
    with stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        with shown_progress(spark, 10, progress=True):
            os.close(far)
            assert spark.range(3).count() == 3
