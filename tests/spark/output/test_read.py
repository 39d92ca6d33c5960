"""`read_predictions`: rows of committed runs, of each image those of the newest."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

import sparkq
from sparkq.artifact.file import ModelArtifact
from sparkq.errors import InputError
from sparkq.spark.output.write import write_predictions
from tests.spark.local import assert_clear

OTHER_DIGEST = "0" * 64


@pytest.fixture(scope="module")
def output(spark: SparkSession, images_df: DataFrame, artifact: ModelArtifact, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Three runs: ten images; five of them again and a new column; three, one of them twice, by another model.

    A name that Spark would take for a pattern; run ids that look like numbers; a file that no manifest lists.
    """
    output = tmp_path_factory.mktemp("runs") / "out [1]{a}"
    predictions = sparkq.predict(images_df.orderBy("path").limit(10), artifact)
    ordered = predictions.orderBy("path")
    write_predictions(predictions, str(output), run_id="007")
    write_predictions(ordered.limit(5).selectExpr("*", "1 AS shop"), str(output), run_id="008", partition_by=["label_name"])
    third = ordered.limit(3).union(ordered.limit(1)).drop("model_digest").selectExpr("*", f"'{OTHER_DIGEST}' AS model_digest")
    write_predictions(third, str(output), run_id="009")
    (output / "run_id=009" / "part-orphan.parquet").write_bytes(next((output / "run_id=009").glob("*.parquet")).read_bytes())
    return str(output)


def _runs(rows: DataFrame) -> dict[str, list[str]]:
    """Path to the runs of its rows."""
    found: dict[str, list[str]] = {}
    for row in sorted(rows.collect(), key=lambda row: (row["path"], row["run_id"])):
        found.setdefault(row["path"], []).append(row["run_id"])
    return found


def test_the_newest_run_wins_image_by_image(spark: SparkSession, output: str) -> None:
    """An image that one run has twice keeps both rows; a column that a run has not is null there."""
    rows = sparkq.read_predictions(spark, output)
    assert _runs(rows) == {
        "000.png": ["009", "009"], "001.png": ["009"], "002.png": ["009"], "003.png": ["008"], "004.png": ["008"],
        **{f"00{index}.png": ["007"] for index in range(5, 10)},
    }
    assert {row["run_id"]: row["shop"] for row in rows.collect()} == {"007": None, "008": 1, "009": None}
    assert {row["path"]: row["label_name"] for row in rows.collect() if row["run_id"] == "008"} == {
        row["path"]: row["label_name"] for row in sparkq.read_predictions(spark, output, run_id="007").collect()
        if row["path"] in ("003.png", "004.png")
    }


def test_all_runs_one_run_one_model(spark: SparkSession, output: str, artifact: ModelArtifact) -> None:
    """As asked; never the file that no manifest lists."""
    assert sparkq.read_predictions(spark, output, all_runs=True).count() == 10 + 5 + 4
    assert _runs(sparkq.read_predictions(spark, output, run_id="007")) == {f"00{index}.png": ["007"] for index in range(10)}
    by_model = _runs(sparkq.read_predictions(spark, output, model_digest=artifact.digest))
    assert by_model == {f"00{index}.png": ["008" if index < 5 else "007"] for index in range(10)}
    assert sparkq.read_predictions(spark, output, model_digest=OTHER_DIGEST).count() == 4


def test_rows_without_a_key_are_all_kept(
    spark: SparkSession, images_df: DataFrame, artifact: ModelArtifact, tmp_path: Path,
) -> None:
    """Nothing says that they are of the same image."""
    images = images_df.limit(2).selectExpr("IF(path = '000.png', path, NULL) AS path", "content")
    predictions = sparkq.predict(images, artifact)
    for _ in range(2):
        write_predictions(predictions, str(tmp_path))
    found = [row["path"] for row in sparkq.read_predictions(spark, str(tmp_path)).collect()]
    assert sorted(found, key=str) == ["000.png", None, None]


@pytest.mark.parametrize(("options", "words"), [
    ({"run_id": "010"}, ("as asked for", "007, 008, 009")), ({"model_digest": "1" * 64}, ("as asked for",)),
    ({"key": "absent"}, ("'absent'", "key=")),
])
def test_what_is_not_there(spark: SparkSession, output: str, options: dict[str, Any], words: tuple[str, ...]) -> None:
    with pytest.raises(InputError) as caught:
        sparkq.read_predictions(spark, output, **options)
    assert_clear(caught.value, *words, "Hint: ")


@pytest.mark.parametrize("there", [True, False])
def test_no_committed_run(spark: SparkSession, tmp_path: Path, there: bool) -> None:
    """Whether or not the folder exists."""
    if there:
        (tmp_path / "out" / "run_id=x").mkdir(parents=True)
    with pytest.raises(InputError) as caught:
        sparkq.read_predictions(spark, str(tmp_path / "out"))
    assert_clear(caught.value, "out", "expected a committed run; got none", "Hint: ")


def test_a_listed_file_that_is_gone(spark: SparkSession, images_df: DataFrame, artifact: ModelArtifact, tmp_path: Path) -> None:
    """An error, never fewer rows; also where the session ignores missing files."""
    write_predictions(sparkq.predict(images_df.limit(3), artifact), str(tmp_path), run_id="r")
    next((tmp_path / "run_id=r").glob("*.parquet")).unlink()
    spark.conf.set("spark.sql.files.ignoreMissingFiles", "true")
    try:
        with pytest.raises(Exception, match="PATH_NOT_FOUND|FILE_NOT_EXIST"):
            sparkq.read_predictions(spark, str(tmp_path)).collect()
    finally:
        spark.conf.unset("spark.sql.files.ignoreMissingFiles")
