"""Structured Streaming: images that arrive later, predicted by the same function."""
from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

import sparkq
from sparkq.artifact.file import ModelArtifact
from tests.spark.local import added


@pytest.fixture
def arriving(spark: SparkSession, folder: Path, tmp_path: Path) -> tuple[DataFrame, list[Path]]:
    """A stream over a folder that holds the first half of the images, and the second half's paths."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    (tmp_path / "images").mkdir()
    half = len(files) // 2
    for path in files[:half]:
        shutil.copy(path, tmp_path / "images")
    schema = spark.read.format("binaryFile").load(str(folder)).schema
    stream = spark.readStream.format("binaryFile").schema(schema).option("maxFilesPerTrigger", 16).load(str(tmp_path / "images"))
    return stream, files[half:]


def _check(spark: SparkSession, output: Path, images: Path, expected: dict[str, dict[str, Any]]) -> None:
    rows = spark.read.parquet(str(output)).collect()
    found = {Path(row["path"]).name: added(row)["label"] for row in rows}
    assert len(rows) == len(found) and found == {path.name: expected[path.name]["label"] for path in images.iterdir()}


def test_a_stream_is_predicted(
    spark: SparkSession, arriving: tuple[DataFrame, list[Path]], artifact: ModelArtifact, expected: dict[str, dict[str, Any]],
    tmp_path: Path,
) -> None:
    """Twice with one checkpoint: what came in between is added, what was there is not done again."""
    stream, later = arriving
    predictions = sparkq.predict(stream, artifact)
    assert predictions.isStreaming
    for new in ([], later):
        for path in new:
            shutil.copy(path, tmp_path / "images")
        writer = predictions.writeStream.format("parquet").option("checkpointLocation", str(tmp_path / "checkpoint"))
        query = writer.trigger(availableNow=True).start(str(tmp_path / "output"))
        query.awaitTermination()
        assert query.exception() is None
        _check(spark, tmp_path / "output", tmp_path / "images", expected)


def test_inside_foreach_batch(
    spark: SparkSession, arriving: tuple[DataFrame, list[Path]], artifact: ModelArtifact, expected: dict[str, dict[str, Any]],
    tmp_path: Path,
) -> None:
    """Each batch is a table of its own; the artifact is broadcast once for all of them."""
    stream, _ = arriving
    sizes: list[int] = []

    def write(batch: DataFrame, number: int) -> None:
        predictions = sparkq.predict(batch, artifact)
        predictions.write.mode("append").parquet(str(tmp_path / "output"))
        sizes.append(number)

    writer = stream.writeStream.foreachBatch(write).option("checkpointLocation", str(tmp_path / "checkpoint"))
    query = writer.trigger(availableNow=True).start()
    query.awaitTermination()
    assert query.exception() is None and len(sizes) > 1
    _check(spark, tmp_path / "output", tmp_path / "images", expected)
