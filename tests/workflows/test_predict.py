"""`run_prediction_job`: resume, error budget, quarantine and what the manifest says, in one session."""
from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

import sparkq
from sparkq.config.parsing import to_mapping
from sparkq.errors import ArtifactDigestError, ConfigError, ErrorBudgetError, InputError
from sparkq.spark.output.commit import output_folder, start_attempt
from sparkq.spark.output.write import write_attempt
from tests.image_bombs import scans_jpeg
from tests.models import digit_files, digits_artifact
from tests.pictures import encode, texture

IMAGES = 8
BROKEN = {"empty.png": b"", "rubbish 100%?.png": b"no image"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained artifact."""
    path = tmp_path_factory.mktemp("model") / "digits.sparkq"
    digits_artifact().save(str(path))
    return path


@pytest.fixture
def job(model: Path, tmp_path: Path) -> sparkq.PredictionJob:
    """Eight scans and two broken files, all of which may fail."""
    (tmp_path / "in").mkdir()
    for name, content in {**{f"{index}.png": content for index, content in enumerate(digit_files(IMAGES))}, **BROKEN}.items():
        (tmp_path / "in" / name).write_bytes(content)
    return sparkq.PredictionJob(
        model=str(model), input=str(tmp_path / "in"), output=str(tmp_path / "out"), max_error_rate=1, batch_size=4,
    )


def _names(spark: SparkSession, output: str, **options: Any) -> Counter[str]:
    rows = sparkq.read_predictions(spark, output, **options)
    return Counter(row["path"].rpartition("/")[2] for row in rows.select("path").collect())


def test_resume(spark: SparkSession, job: sparkq.PredictionJob, tmp_path: Path) -> None:
    """What is new, changed, or otherwise preprocessed; nothing of what is done, broken files included; no row twice."""
    first = sparkq.run_prediction_job(spark, job)
    assert (first["rows"], first["skipped"]) == (IMAGES + len(BROKEN), 0)
    resumed = dataclasses.replace(job, resume=True)
    images = tmp_path / "in"
    shutil.copy(images / "0.png", images / "new, {1}[a]*.png")
    (images / "new_empty.png").touch()
    os.utime(images / "3.png", (1_700_000_000, 1_700_000_000))
    changed = {"new, {1}[a]*.png", "new_empty.png", "3.png"}
    second = sparkq.run_prediction_job(spark, resumed)
    assert (second["rows"], second["skipped"]) == (3, IMAGES + len(BROKEN) - 1)
    assert _names(spark, job.output, run_id=second["run_id"]) == Counter(changed)
    everything = {path.name for path in images.iterdir()}
    assert _names(spark, job.output) == Counter(everything)
    third = sparkq.run_prediction_job(spark, resumed)
    assert (third["rows"], third["skipped"], third["error_codes"]) == (0, len(everything), {})
    artifact = sparkq.ModelArtifact.load(job.model)
    bicubic = dataclasses.replace(artifact.manifest.preprocess, interpolation="bicubic")
    manifest = dataclasses.replace(artifact.manifest, preprocess=bicubic)
    dataclasses.replace(artifact, manifest=manifest).save(str(tmp_path / "bicubic.sparkq"))
    other = sparkq.run_prediction_job(spark, dataclasses.replace(resumed, model=str(tmp_path / "bicubic.sparkq")))
    assert (other["rows"], other["skipped"]) == (len(everything), 0)


def test_resume_opens_no_image_that_is_done(spark: SparkSession, job: sparkq.PredictionJob, tmp_path: Path) -> None:
    """They are gone under the same names, lengths and times: opening one would show in its row. The session stays as it was."""
    listing = "spark.sql.sources.parallelPartitionDiscovery.parallelism"
    setting = spark.conf.get(listing, None)
    sparkq.run_prediction_job(spark, job)
    for path in (tmp_path / "in").iterdir():
        status = path.stat()
        path.write_bytes(bytes(status.st_size))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    shutil.copy(tmp_path / "in" / "1.png", tmp_path / "in" / "more.png")
    result = sparkq.run_prediction_job(spark, dataclasses.replace(job, resume=True))
    assert (result["rows"], result["error_codes"]) == (1, {"not_an_image": 1})
    assert spark.conf.get(listing, None) == setting


LIMITS = {"max_image_pixels": 100, "max_image_bytes": 1000, "max_decode_bytes": 1500}


def _too_large() -> dict[str, bytes]:
    """Of each of `LIMITS` an image that it alone refuses; in WebP 100 pixels take 1600 bytes to decode."""
    return {
        "max_image_pixels": encode(texture(11, 11), "PNG"), "max_image_bytes": encode(texture(8, 8), "PNG").ljust(1001, b"\0"),
        "max_decode_bytes": encode(texture(10, 10), "WEBP"),
    }


@pytest.fixture(scope="module")
def refused(spark: SparkSession, model: Path, tmp_path_factory: pytest.TempPathFactory) -> sparkq.PredictionJob:
    """A job that has run, and refused an image by each limit."""
    folder = tmp_path_factory.mktemp("limits")
    (folder / "in").mkdir()
    for name, content in {**_too_large(), "whole": digit_files(1)[0]}.items():
        (folder / "in" / name).write_bytes(content)
    job = sparkq.PredictionJob(
        model=str(model), input=str(folder / "in"), output=str(folder / "out"), max_error_rate=1, **LIMITS,
    )
    first = sparkq.run_prediction_job(spark, job)
    assert (first["ok"], first["error_codes"]) == (1, {"image_too_large": len(LIMITS)})
    assert {name: first["settings"][name] for name in LIMITS} == LIMITS
    return dataclasses.replace(job, resume=True)


@pytest.mark.parametrize("name", LIMITS)
def test_resume_after_a_limit_was_raised(
    spark: SparkSession, refused: sparkq.PredictionJob, tmp_path: Path, name: str,
) -> None:
    """The image that it refused is predicted. With equal or smaller limits nothing is tried again."""
    shutil.copytree(refused.output, tmp_path / "out")
    job = dataclasses.replace(refused, output=str(tmp_path / "out"))
    smaller = sparkq.run_prediction_job(spark, dataclasses.replace(job, **{name: LIMITS[name] - 1}))
    assert (smaller["rows"], smaller["skipped"]) == (0, len(LIMITS) + 1)
    raised = sparkq.run_prediction_job(spark, dataclasses.replace(job, **{name: 2 * LIMITS[name]}))
    assert (raised["ok"], raised["error_codes"], raised["skipped"]) == (1, {"image_too_large": len(LIMITS) - 1}, 1)
    rows = sparkq.read_predictions(spark, job.output).where("status = 'ok'").collect()
    assert sorted(row["path"].rpartition("/")[2] for row in rows) == sorted([name, "whole"])


def test_resume_after_more_time_was_allowed(spark: SparkSession, job: sparkq.PredictionJob, tmp_path: Path) -> None:
    """An image that would take too long is a row that says so; with a larger limit it is predicted."""
    (tmp_path / "in" / "scans.jpg").write_bytes(scans_jpeg(500, 2000))
    first = sparkq.run_prediction_job(spark, dataclasses.replace(job, max_decode_seconds=1))
    assert (first["ok"], first["error_codes"]["decode_too_costly"]) == (IMAGES, 1)
    again = sparkq.run_prediction_job(spark, dataclasses.replace(job, max_decode_seconds=1, resume=True))
    assert again["rows"] == 0
    raised = sparkq.run_prediction_job(spark, dataclasses.replace(job, max_decode_seconds=10, resume=True))
    assert (raised["rows"], raised["ok"]) == (1, 1)


def test_what_was_not_read_or_is_of_another_model_is_tried_again(spark: SparkSession, job: sparkq.PredictionJob) -> None:
    """A store that was away for a moment leaves such a row; one of another model is no row of this one.

    An output that is no number is tried again with another engine.
    """
    artifact = sparkq.ModelArtifact.load(job.model)
    unread, invalid = F.col("path").endswith("/3.png"), F.col("path").endswith("/5.png")
    predictions = sparkq.predict(sparkq.read_images(spark, job.input), artifact)
    predictions = predictions.withColumns({
        "status": F.when(unread | invalid, "error").otherwise(F.col("status")),
        "error_code": F.when(unread, "read_failed").when(invalid, "invalid_output").otherwise(F.col("error_code")),
        "model_digest": F.when(F.col("path").endswith("/4.png"), "0" * 64).otherwise(F.col("model_digest")),
    })
    described = {
        "preprocess": to_mapping(artifact.manifest.preprocess), "settings": to_mapping(job), "task": artifact.manifest.task,
    }
    attempt = start_attempt(output_folder(spark, job.output), "first")
    write_attempt(
        predictions, attempt, partition_by=(), overwrite=False, output=job.output,
        describe=lambda manifest, counts: dataclasses.replace(manifest, **described),
    )
    resumed = sparkq.run_prediction_job(spark, dataclasses.replace(job, resume=True))
    assert (resumed["rows"], resumed["ok"], resumed["skipped"]) == (2, 2, IMAGES - 2 + len(BROKEN))
    assert _names(spark, job.output, run_id=resumed["run_id"]) == Counter(["3.png", "4.png"])
    other = sparkq.run_prediction_job(spark, dataclasses.replace(job, resume=True, engine="onednn"))
    assert (other["rows"], other["ok"]) == (1, 1)
    assert _names(spark, job.output, run_id=other["run_id"]) == Counter(["5.png"])


@pytest.mark.parametrize("keyed", [True, False])
def test_resume_of_a_table(spark: SparkSession, job: sparkq.PredictionJob, tmp_path: Path, keyed: bool) -> None:
    """By the same columns; without them it is refused, and they are named."""
    images = sparkq.read_images(spark, job.input).where("length > 10")
    table = dataclasses.replace(job, input=str(tmp_path / "table"))
    (images if keyed else images.select("path", "content")).write.parquet(table.input)
    if not keyed:
        with pytest.raises(InputError, match="no length, modificationTime among path, content"):
            sparkq.run_prediction_job(spark, dataclasses.replace(table, resume=True))
        assert not Path(job.output).exists()
        return
    assert sparkq.run_prediction_job(spark, table)["rows"] == IMAGES
    shutil.copy(tmp_path / "in" / "0.png", tmp_path / "in" / "new.png")
    sparkq.read_images(spark, job.input, glob="new.png").write.mode("append").parquet(table.input)
    second = sparkq.run_prediction_job(spark, dataclasses.replace(table, resume=True))
    assert (second["rows"], second["skipped"]) == (1, IMAGES)


@pytest.mark.parametrize("with_bytes", [True, False])
def test_budget_and_quarantine(spark: SparkSession, job: sparkq.PredictionJob, tmp_path: Path, with_bytes: bool) -> None:
    """Everything is committed and set aside before the error; the same run again is as far over its budget, and adds nothing."""
    job = dataclasses.replace(
        job, max_error_rate=0.19, run_id="nightly", quarantine=str(tmp_path / "bad"), quarantine_bytes=with_bytes,
    )
    for attempt in (1, 2):
        with pytest.raises(ErrorBudgetError) as caught:
            sparkq.run_prediction_job(spark, job)
        assert "at most 19 % of the images to fail; got 20 % (1 empty_content, 1 not_an_image)" in caught.value.message
        result = caught.value.result
        assert (result["rows"], result["errors"], result["already_committed"]) == (10, 2, attempt == 2)
        assert _names(spark, job.output).total() == 10
        failed = {row["path"].rpartition("/")[2]: row for row in spark.read.parquet(str(tmp_path / "bad")).collect()}
        assert spark.read.parquet(str(tmp_path / "bad")).count() == 2
        assert {name: row["error_code"] for name, row in failed.items()} == {
            "empty.png": "empty_content", "rubbish 100%?.png": "not_an_image",
        }
        assert all(row["error_message"] and row["run_id"] == "nightly" and row["length"] is not None for row in failed.values())
        if with_bytes:
            assert {name: bytes(row["content"]) for name, row in failed.items()} == BROKEN
        else:
            assert "content" not in next(iter(failed.values()))
    assert sparkq.run_prediction_job(spark, dataclasses.replace(job, max_error_rate=0.2))["errors"] == 2
    assert {path.name for path in (tmp_path / "bad").iterdir()} == {"run_id=nightly"}


def test_bytes_of_a_table_are_not_read_again(spark: SparkSession, job: sparkq.PredictionJob, tmp_path: Path) -> None:
    """Where there is no path to read them at; refused before the job. The rows alone are set aside, with their own columns."""
    table = dataclasses.replace(job, input=str(tmp_path / "table"), quarantine=str(tmp_path / "bad"))
    sparkq.read_images(spark, job.input).selectExpr("length AS shop_id", "content").write.parquet(table.input)
    with pytest.raises(InputError, match="quarantine_bytes: expected images with a path"):
        sparkq.run_prediction_job(spark, dataclasses.replace(table, quarantine_bytes=True))
    assert not Path(job.output).exists()
    sparkq.run_prediction_job(spark, table)
    failed = spark.read.parquet(str(tmp_path / "bad")).collect()
    assert {row["shop_id"]: row["error_code"] for row in failed} == {0: "empty_content", 8: "not_an_image"}


def test_manifest(spark: SparkSession, job: sparkq.PredictionJob) -> None:
    """Each worker loaded one model, and took memory; seconds, rate and versions are there, and a report tells the same."""
    pinned = hashlib.sha256(Path(job.model).read_bytes()).hexdigest()
    result = sparkq.run_prediction_job(
        spark, dataclasses.replace(job, run_id="nightly", glob="*[0-9].png", model_sha256=pinned),
    )
    workers = result["workers"]
    assert 1 <= workers["workers"] <= workers["loads"] and workers["loads_per_worker"] >= 1
    assert 50e6 < workers["peak_memory_bytes"] < 5e9
    assert result["started"] < result["ended"] and result["versions"]["sparkq"] == sparkq.__version__
    assert result["images_per_second"] == pytest.approx(IMAGES / result["seconds"], rel=0.01)
    assert result["preprocess"]["resize"]["mode"] == "squash"
    assert (result["settings"]["batch_size"], result["settings"]["run_id"]) == (4, "nightly")
    assert result["settings"]["model_sha256"] == pinned
    _assert_told_by_a_report(result, job.output)


def test_another_file_than_the_one_that_is_pinned(spark: SparkSession, job: sparkq.PredictionJob) -> None:
    """Nothing is computed; the artifact's own digest, which leaves labels and preprocessing open, does not pin it."""
    for sha256 in ("0" * 64, digits_artifact().digest):
        with pytest.raises(ArtifactDigestError, match="expected a file with sha256"):
            sparkq.run_prediction_job(spark, dataclasses.replace(job, model_sha256=sha256))
    assert not Path(job.output).exists()
    with pytest.raises(ConfigError, match="model_sha256: expected a sha256, 64 hexadecimal digits"):
        dataclasses.replace(job, model_sha256="abc")


def _assert_told_by_a_report(manifest: dict[str, Any], output: str) -> None:
    """Every row was written by a task whose time is known; and the figures of the report are the rows'."""
    tasks = manifest["tasks"]
    assert json.loads(json.dumps([tasks, manifest["artifact"]])) == [tasks, manifest["artifact"]]
    assert tasks["rows"] == manifest["rows"] and tasks["failed_attempts"] == 0
    assert tasks["measured"] == tasks["tasks"] == len(tasks["slowest"])
    assert 0 < tasks["shortest_seconds"] <= tasks["longest_seconds"] <= tasks["span_seconds"] <= manifest["seconds"]
    assert manifest["started"] <= tasks["started"] <= manifest["ended"]
    report = sparkq.RunReport.load(output, run_id=manifest["run_id"])
    rows = pq.read_table(output).to_pylist()
    assert (report.figures.rows, report.figures.error_codes) == (len(rows), manifest["error_codes"])
    assert report.figures.highest[0].measure == max(row["score"] for row in rows if row["status"] == "ok")
    assert report.tasks is not None and report.tasks.rows == len(rows)
    assert report.model is not None and report.model.digest == manifest["model_digest"]
    page = report.to_html()
    assert page.count("<img ") == 2 * IMAGES and 'class="missing"' not in page


@pytest.mark.parametrize(("values", "words"), [
    ({"max_error_rate": 1.5}, "max_error_rate: expected a share from 0 to 1"),
    ({"quarantine_bytes": True}, "quarantine_bytes: expected quarantine"),
    ({"run_id": "a:b"}, "run_id: expected up to 200 letters"),
    ({"overwrite": True, "resume": True}, "overwrite: expected it without resume"),
])
def test_jobs_that_make_no_sense(values: dict[str, Any], words: str) -> None:
    """Refused when they are made."""
    with pytest.raises(ConfigError, match=words):
        sparkq.PredictionJob(model="m", input="i", output="o", **values)
