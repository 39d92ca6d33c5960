"""Predictions to Parquet: whole or not at all, counted from what was committed."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pyspark.sql import DataFrame, SparkSession

import sparkq
from sparkq.artifact import ModelArtifact
from sparkq.errors import EngineError, InputError
from sparkq.prediction_columns import CLASSIFICATION_FIELDS
from sparkq.spark import sinks
from sparkq.spark.sinks import write_predictions

from .local import COLUMNS, assert_clear, broken_files, local_row


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
    assert table.column_names == ["path", *COLUMNS]
    for field in CLASSIFICATION_FIELDS:
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


@pytest.mark.parametrize("kind", ["folder", "empty_folder", "file"])
def test_what_exists_is_left_alone(predictions: DataFrame, tmp_path: Path, kind: str) -> None:
    """Refused before anything runs, and untouched."""
    output = tmp_path / "out"
    if kind == "file":
        output.write_text("mine")
    else:
        output.mkdir()
    if kind == "folder":
        (output / "part.parquet").write_text("mine")
    before = sorted((path, path.is_file() and path.read_text()) for path in tmp_path.rglob("*"))
    with pytest.raises(InputError) as caught:
        write_predictions(predictions, str(output))
    assert_clear(caught.value, str(output), "does not exist", "--overwrite")
    assert sorted((path, path.is_file() and path.read_text()) for path in tmp_path.rglob("*")) == before


def test_overwrite_replaces(predictions: DataFrame, tmp_path: Path) -> None:
    """The rows of an earlier run are gone."""
    write_predictions(predictions, str(tmp_path / "out"))
    written = write_predictions(predictions.where("status = 'ok'"), str(tmp_path / "out"), overwrite=True)
    assert (written.rows, written.errors, written.error_codes) == (10, 0, {})
    assert pq.read_table(tmp_path / "out").num_rows == 10


def test_failure_leaves_nothing(images_df: DataFrame, falsified: ModelArtifact, tmp_path: Path) -> None:
    """A job that fails on its workers leaves no folder behind, so that the next attempt can write there."""
    with pytest.raises(EngineError):
        write_predictions(sparkq.predict(images_df, falsified), str(tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []


def test_folder_of_another_job_is_never_deleted(
    predictions: DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A folder that appears after the check, as when two jobs start at once, is refused by Spark and stays."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "part.parquet").write_text("theirs")
    monkeypatch.setattr(sinks, "_exists", lambda spark, location: False)
    with pytest.raises(Exception, match="PATH_ALREADY_EXISTS"):
        write_predictions(predictions, str(tmp_path / "out"))
    assert (tmp_path / "out" / "part.parquet").read_text() == "theirs"


def test_unknown_filesystem(predictions: DataFrame) -> None:
    """One sentence that names the uri."""
    with pytest.raises(InputError) as caught:
        write_predictions(predictions, "nosuch://bucket/out")
    assert_clear(caught.value, "nosuch://bucket/out", "filesystem")
