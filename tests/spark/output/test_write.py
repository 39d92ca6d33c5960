"""Predictions to Parquet: whole or not at all, counted from what was committed."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pyspark.sql import DataFrame, SparkSession

import sparkq
from sparkq.artifact.file import ModelArtifact
from sparkq.errors import EngineError, InputError
from sparkq.model_tasks.columns import prediction_fields
from sparkq.spark.output import write as sinks
from sparkq.spark.output.write import write_predictions
from tests.models import one_label_artifact
from tests.spark.local import COLUMNS, assert_clear, broken_files, local_row


@pytest.fixture(scope="module")
def predictions(spark: SparkSession, images_df: DataFrame, artifact: ModelArtifact) -> DataFrame:
    """Ten whole images and a broken one of each kind."""
    broken = [(name, bytearray(content)) for name, (content, _) in broken_files().items()]
    return sparkq.predict(images_df.limit(10).union(spark.createDataFrame(broken, images_df.schema)), artifact)


def test_written_rows_and_counts(
    predictions: DataFrame, artifact: ModelArtifact, files: dict[str, bytes], tmp_path: Path,
) -> None:
    """Another reader than Spark finds every row, with the types of the contract, and as many as were reported."""
    written = write_predictions(predictions, str(tmp_path / "out"))
    table = pq.read_table(tmp_path / "out")
    assert table.column_names == ["path", *COLUMNS, "run_id"]
    for field in prediction_fields("classification"):
        if field.name != "top_k":  # Parquet names the items of a list its own way
            assert table.schema.field(field.name).type == field.type
    rows = {row["path"]: row for row in table.to_pylist()}
    assert (written.rows, written.ok, written.errors) == (len(rows), 10, len(broken_files()))
    codes = [code for _, code in broken_files().values()]
    assert written.error_codes == {code: codes.count(code) for code in sorted(codes)}
    assert 0 < written.seconds < 120
    assert written.images_per_second == pytest.approx(written.rows / written.seconds)
    name = next(iter(files))
    expected: dict[str, Any] = local_row(artifact, files[name])
    assert {column: rows[name][column] for column in COLUMNS} == expected


def test_a_run_is_added_to_others(predictions: DataFrame, tmp_path: Path) -> None:
    """In a folder of its own, with a manifest of its own; an id that is committed is not computed again."""
    output = str(tmp_path / "out")
    first = write_predictions(predictions, output, run_id="first")
    second = write_predictions(predictions.where("status = 'ok'"), output)
    assert second.run_id != "first" and (second.rows, second.errors, second.error_codes) == (10, 0, {})
    assert pq.read_table(output).num_rows == first.rows + 10
    again = write_predictions(predictions.where("status = 'absent'"), output, run_id="first")
    assert again == first
    assert pq.read_table(output).num_rows == first.rows + 10


def test_overwrite_replaces_what_was_there_before(
    predictions: DataFrame, images_df: DataFrame, falsified: ModelArtifact, tmp_path: Path,
) -> None:
    """After its own commit, and so not at all if it fails; what sparkq did not write it does not touch."""
    output = tmp_path / "out"
    write_predictions(predictions, str(output), run_id="first")
    with pytest.raises(EngineError):
        write_predictions(sparkq.predict(images_df, falsified), str(output), overwrite=True)
    assert _names(output) == {"_sparkq", "run_id=first"}
    written = write_predictions(predictions.where("status = 'ok'"), str(output), run_id="second", overwrite=True)
    assert (written.rows, pq.read_table(output).num_rows) == (10, 10)
    assert _names(output) == {"_sparkq", "run_id=second"}
    (output / "mine.txt").write_text("mine")
    with pytest.raises(InputError) as caught:
        write_predictions(predictions, str(output), overwrite=True)
    assert_clear(caught.value, "mine.txt", "Hint: ")
    assert _names(output) == {"_sparkq", "run_id=second", "mine.txt"}


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_files_of_many_tasks_become_one(images_df: DataFrame, artifact: ModelArtifact, tmp_path: Path) -> None:
    """Twelve tasks, one file, every row once, and the manifest names it with its size."""
    written = write_predictions(sparkq.predict(images_df.repartition(12), artifact), str(tmp_path / "out"), run_id="r")
    manifest = json.loads((tmp_path / "out" / "_sparkq" / "r.json").read_text())
    [file] = (tmp_path / "out" / "run_id=r").glob("*.parquet")
    assert manifest["files"] == [{"path": f"run_id=r/{file.name}", "bytes": file.stat().st_size}]
    assert (written.files, written.bytes, written.rows) == (1, file.stat().st_size, 60)
    assert sorted(pq.read_table(file)["path"].to_pylist()) == sorted(row["path"] for row in images_df.select("path").collect())


@pytest.mark.parametrize("file_bytes", [2**30, 1500], ids=["one_task", "several_tasks"])
def test_columns_become_folders(
    predictions: DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file_bytes: int,
) -> None:
    """One file a value, also where several tasks write them; nulls have a folder, too."""
    monkeypatch.setattr(sinks, "FILE_BYTES", file_bytes)
    write_predictions(predictions, str(tmp_path / "out"), run_id="r", partition_by=["status", "label_name"])
    files = sorted((tmp_path / "out" / "run_id=r").rglob("*.parquet"))
    folders = {file.parent.relative_to(tmp_path / "out" / "run_id=r") for file in files}
    assert len(files) == len(folders) > 2 and {folder.parts[0] for folder in folders} == {"status=ok", "status=error"}
    assert Path("status=error/label_name=__HIVE_DEFAULT_PARTITION__") in folders
    read = sparkq.read_predictions(predictions.sparkSession, str(tmp_path / "out"))
    rows = {row["path"]: row.asDict(recursive=True) for row in read.collect()}
    expected = {row["path"]: row.asDict(recursive=True) for row in predictions.collect()}
    assert rows == {path: {**row, "run_id": "r"} for path, row in expected.items()}


@pytest.mark.parametrize("column", ["absent", "top_k", "score"])
def test_columns_that_cannot_be_folders(predictions: DataFrame, tmp_path: Path, column: str) -> None:
    """Refused before anything runs."""
    with pytest.raises(InputError) as caught:
        write_predictions(predictions, str(tmp_path / "out"), partition_by=[column])
    assert_clear(caught.value, "partition_by", repr(column), "Hint: one of: path, status")
    assert not (tmp_path / "out").exists()


def test_failure_leaves_nothing(images_df: DataFrame, falsified: ModelArtifact, tmp_path: Path) -> None:
    """A job that fails on its workers leaves no folder behind, so that the next attempt can write there."""
    with pytest.raises(EngineError):
        write_predictions(sparkq.predict(images_df, falsified), str(tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []


def test_unknown_filesystem(predictions: DataFrame) -> None:
    """One sentence that names the uri."""
    with pytest.raises(InputError) as caught:
        write_predictions(predictions, "nosuch://bucket/out")
    assert_clear(caught.value, "nosuch://bucket/out", "filesystem")


@pytest.mark.parametrize("classes", [2, 10])
def test_one_label_for_all(images_df: DataFrame, tmp_path: Path, caplog: pytest.LogCaptureFixture, classes: int) -> None:
    """Logged, and kept with the run; whose model is not known here, so that it is told from a rare class by 99 %."""
    artifact = one_label_artifact(classes=classes)
    caplog.clear()
    written = write_predictions(sparkq.predict(images_df, artifact), str(tmp_path / "out"))
    [warning] = written.warnings
    assert warning.startswith(f"the model gives all {written.rows} images the same label ({classes - 1})")
    assert f"predict: {warning}" in caplog.messages
    manifest = json.loads((tmp_path / "out" / "_sparkq" / f"{written.run_id}.json").read_text())
    assert manifest["warnings"] == [warning]
