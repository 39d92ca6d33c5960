"""Images that cannot be read: each is one row that says why, and nothing else changes."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, Row, SparkSession

import sparkq
from sparkq.artifact.file import ModelArtifact
from sparkq.config import InferenceConfig
from tests.models import encoded, noise
from tests.spark.local import added, broken_files, by_path

EVERY = 6  # a broken image after so many whole ones: several in each batch


@pytest.fixture(scope="module")
def mixed(files: dict[str, bytes]) -> dict[str, bytes]:
    """Whole images with the broken ones strewn between."""
    broken = list(broken_files().items())
    mixed: dict[str, bytes] = {}
    for position, (name, content) in enumerate(files.items()):
        if position % EVERY == 0 and broken:
            key, (bad, _) = broken.pop()
            mixed[key] = bad
        mixed[name] = content
    assert not broken
    return mixed


def _rows(df: DataFrame, artifact: ModelArtifact, **options: Any) -> list[Row]:
    return sparkq.predict(df.coalesce(1), artifact, config=InferenceConfig(**options)).collect()


@pytest.fixture(scope="module")
def mixed_rows(spark: SparkSession, mixed: dict[str, bytes], artifact: ModelArtifact) -> list[Row]:
    """Their predictions, in one partition."""
    df = spark.createDataFrame([(name, bytearray(content)) for name, content in mixed.items()], "path string, content binary")
    return _rows(df, artifact)


def test_every_image_is_one_row_in_place(mixed: dict[str, bytes], mixed_rows: list[Row]) -> None:
    """As many rows as files, in their order."""
    assert [row["path"] for row in mixed_rows] == list(mixed)


def test_other_rows_are_unharmed(mixed_rows: list[Row], images_df: DataFrame, artifact: ModelArtifact) -> None:
    """Every whole image gets what it gets in a run without the broken ones."""
    without = by_path(_rows(images_df, artifact))
    whole = {path: row for path, row in by_path(mixed_rows).items() if path not in broken_files()}
    assert whole == without
    assert {row["status"] for row in whole.values()} == {"ok"}


@pytest.mark.parametrize("name", list(broken_files()))
def test_error_row(mixed_rows: list[Row], artifact: ModelArtifact, name: str) -> None:
    """Status, the documented code, a sentence, no prediction, and still which model it was."""
    row = by_path(mixed_rows)[name]
    assert row["status"] == "error"
    assert row["error_code"] == broken_files()[name][1]
    assert len(row["error_message"].split()) >= 4 and "\n" not in row["error_message"] and len(row["error_message"]) <= 300
    assert "Traceback" not in row["error_message"]
    assert [row[column] for column in ("label", "label_name", "score", "top_k")] == [None] * 4
    assert (row["model_digest"], row["engine"]) == (artifact.digest, "fbgemm")


def test_broken_files_on_disk(spark: SparkSession, artifact: ModelArtifact, tmp_path: Path) -> None:
    """The same of files as Spark reads them, without one whole image in the partition."""
    for name, (content, _) in broken_files().items():
        (tmp_path / name).write_bytes(content)
    rows = _rows(sparkq.read_images(spark, str(tmp_path)), artifact)
    found = {row["path"].rpartition("/")[2]: row["error_code"] for row in rows}
    assert found == {name: code for name, (_, code) in broken_files().items()}


def test_null_content(spark: SparkSession, artifact: ModelArtifact, files: dict[str, bytes], expected: dict[str, Any]) -> None:
    """A null in the image column is an error row; so is a null for a pair of an RDD."""
    name, content = next(iter(files.items()))
    df = spark.createDataFrame([("null", None), (name, bytearray(content))], "path string, content binary")
    found = by_path(_rows(df, artifact))
    assert found["null"]["error_code"] == "missing_content"
    assert found[name] == expected[name]
    pairs = dict(sparkq.predict_rdd(spark.sparkContext.parallelize([("null", None), (name, content)], 1), artifact).collect())
    assert pairs == found


@pytest.mark.parametrize(("limit", "status"), [(32 * 48, "ok"), (32 * 48 - 1, "error")])
def test_pixel_limit(spark: SparkSession, artifact: ModelArtifact, limit: int, status: str) -> None:
    """``max_image_pixels`` is the largest number of pixels that is still decoded."""
    content = encoded(noise(1, size=48)[0][:32])
    df = spark.createDataFrame([("photo", bytearray(content))], "path string, content binary")
    row = _rows(df, artifact, max_image_pixels=limit)[0]
    assert (row["status"], row["error_code"]) == (status, None if status == "ok" else "image_too_large")


def test_image_source_keeps_files_that_it_cannot_decode(spark: SparkSession, artifact: ModelArtifact, tmp_path: Path) -> None:
    """Spark's image source gives them a row of mode -1; so do we, and the others are unharmed."""
    (tmp_path / "broken.png").write_bytes(b"not an image at all")
    (tmp_path / "whole.png").write_bytes(encoded(noise(1)[0]))
    rows = sparkq.predict(spark.read.format("image").load(str(tmp_path)), artifact).collect()
    found = {row["image"]["origin"].rpartition("/")[2]: added(row) for row in rows}
    assert (found["broken.png"]["status"], found["broken.png"]["error_code"]) == ("error", "unsupported_image")
    assert found["whole.png"]["status"] == "ok"
