"""Workers that open the files themselves: the rows that Spark's own reads give, from folders, lists and tables of uris."""
from __future__ import annotations

import logging
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import sparkq
from sparkq.artifact.file import ModelArtifact
from sparkq.config import InferenceConfig
from sparkq.errors import ConfigError, InputError
from sparkq.images.listing import ListedFile, listing_of
from sparkq.spark.input.binary_file import driver_can_read
from sparkq.spark.input.columns import find_uri_column
from sparkq.spark.input.sources import FoundImages, find_images
from sparkq.spark.input.worker_reads import choose_reads
from tests.models import encoded, noise
from tests.spark.local import added, assert_clear, by_path

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def mixed_folder(files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scans, with names that are not plain, files of zero bytes and one that is no image."""
    folder = tmp_path_factory.mktemp("mixed")
    contents = dict(list(files.items())[:20]) | {
        "with space/100% {a,b} [1].png": files["000.png"], "a%20b.png": files["001.png"], "naïve#1?.png": files["002.png"],
        "empty.png": b"", "sub/labels.csv": b"path,label\n",
    }
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def _sorted(df: DataFrame) -> Rows:
    return sorted((row.asDict(recursive=True) for row in df.collect()), key=lambda row: str(row["path"]))


def _predict(found: FoundImages, artifact: ModelArtifact, read: str) -> DataFrame:
    images, config = choose_reads(found, InferenceConfig(), read=read)
    return sparkq.predict(images, artifact, config=config)


def test_rows_and_columns_are_those_of_sparks_reads(spark: SparkSession, mixed_folder: Path, artifact: ModelArtifact) -> None:
    """Also of files of zero bytes, and of names that uris would escape."""
    images = find_images(spark, str(mixed_folder))
    by_spark, by_workers = (_predict(images, artifact, read) for read in ("spark", "workers"))
    assert by_workers.columns == by_spark.columns
    rows = _sorted(by_workers)
    assert rows == _sorted(by_spark)
    assert len(rows) == 25
    assert {row["error_code"] for row in rows} == {None, "empty_content", "not_an_image"}


def test_auto_lets_workers_read_files(
    spark: SparkSession, mixed_folder: Path, artifact: ModelArtifact, caplog: pytest.LogCaptureFixture,
) -> None:
    """Spark then scans no ``content``, which would open every file; and the log says who reads."""
    images = find_images(spark, str(mixed_folder))
    with caplog.at_level(logging.INFO, logger="sparkq"):
        predictions = _predict(images, artifact, "auto")
    assert "workers open the files" in caplog.text
    plan = predictions._jdf.queryExecution().executedPlan().toString()
    assert "content" not in plan and "FileScan" not in plan


def test_the_librarys_own_way(spark: SparkSession, mixed_folder: Path, artifact: ModelArtifact) -> None:
    """``uri_column="path"`` on `read_images`: the bytes are neither read nor kept."""
    images = sparkq.read_images(spark, str(mixed_folder))
    predictions = sparkq.predict(images, artifact, config=InferenceConfig(uri_column="path"))
    assert _sorted(predictions) == _sorted(sparkq.predict(images, artifact))


def test_a_table_with_bytes_is_not_read_by_workers(images_df: DataFrame) -> None:
    """``auto`` leaves it as it is; ``workers`` says why not."""
    found = FoundImages(images_df)
    assert choose_reads(found, InferenceConfig(), read="auto") == (images_df, InferenceConfig())
    with pytest.raises(InputError) as caught:
        choose_reads(found, InferenceConfig(), read="workers")
    assert_clear(caught.value, "workers", "table")


def test_a_store_that_the_driver_cannot_open_is_left_to_spark(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Hadoop may know a filesystem, or a key for it, that ``pyarrow.fs`` does not."""
    listed = listing_of([ListedFile("warp://host/a.png", 3, 0)], Counter())
    with caplog.at_level(logging.INFO, logger="sparkq"):
        assert not driver_can_read(listed)
    assert "warp://host/a.png" in caplog.text
    assert driver_can_read(listing_of([ListedFile(f"file:{folder}/gone.png", 3, 0)], Counter()))
    assert driver_can_read(listing_of([], Counter()))


def test_a_text_file_of_uris(
    spark: SparkSession, folder: Path, tmp_path: Path, artifact: ModelArtifact, expected: dict[str, Any],
) -> None:
    """Absolute paths, uris, paths relative to the list; no row of a blank line; what is not there is an error row."""
    (tmp_path / "near").symlink_to(folder)
    lines = [f"{folder}/000.png", "", f"file:{folder}/001.png", "   ", f"file://{folder}/002.png\r", "near/003.png", "gone.png"]
    (tmp_path / "list.txt").write_text("\n".join(lines) + "\n")
    df = sparkq.read_images(spark, str(tmp_path / "list.txt"), input_format="uri")
    assert df.columns == ["uri"]
    config = InferenceConfig(uri_column="uri")
    rows = {row["uri"]: added(row) for row in sparkq.predict(df, artifact, config=config).collect()}
    assert len(rows) == 5
    assert rows.pop(f"{tmp_path}/gone.png")["error_code"] == "not_found"
    assert {uri.rpartition("/")[2]: row for uri, row in rows.items()} == {f"00{n}.png": expected[f"00{n}.png"] for n in range(4)}


def test_several_text_files(spark: SparkSession, folder: Path, tmp_path: Path, artifact: ModelArtifact) -> None:
    """A folder of lists; a relative path is an error row there, since nobody knows to what."""
    for number in range(2):
        (tmp_path / f"part-{number}").write_text(f"{folder}/00{number}.png\nnear/{number}.png\n")
    df = sparkq.read_images(spark, str(tmp_path), input_format="uri")
    rows = sparkq.predict(df, artifact, config=InferenceConfig(uri_column="uri")).collect()
    assert sorted((row["status"], row["error_code"] or "") for row in rows) == [("error", "invalid_uri")] * 2 + [("ok", "")] * 2


def test_a_parquet_of_uris(
    spark: SparkSession, folder: Path, tmp_path: Path, artifact: ModelArtifact, expected: dict[str, Any],
) -> None:
    """Its other columns stay, and so does the uri; a null is an error row."""
    rows = [(number, f"{folder}/{number:03d}.png") for number in range(40)]
    table = spark.createDataFrame([*rows, (40, None)], "id int, where_it_is string")
    table.write.parquet(str(tmp_path / "table"))
    df = sparkq.read_images(spark, str(tmp_path / "table"), input_format="uri")
    config = InferenceConfig(uri_column=find_uri_column(df.schema, None))
    found = {row["id"]: row for row in sparkq.predict(df, artifact, config=config).collect()}
    assert found.pop(40)["error_code"] == "missing_content"
    assert {number: row["where_it_is"] for number, row in found.items()} == dict(rows)
    assert {number: added(row) for number, row in found.items()} == {n: expected[f"{n:03d}.png"] for n in range(40)}


@pytest.mark.parametrize(("schema", "column", "words"), [
    ("a string, b string", None, ("2", "--uri-column")), ("a int", None, ("0", "a int")),
    ("a string", "b", ("'b'", "a string")), ("a int", "a", ("'a'", "a int")),
])
def test_a_uri_column_that_is_none(spark: SparkSession, schema: str, column: str | None, words: tuple[str, ...]) -> None:
    """One sentence each."""
    with pytest.raises(InputError) as caught:
        find_uri_column(spark.createDataFrame([], schema).schema, column)
    assert_clear(caught.value, *words)


def test_an_rdd_has_no_uris(spark: SparkSession, artifact: ModelArtifact) -> None:
    """Its values are bytes."""
    with pytest.raises(ConfigError) as caught:
        sparkq.predict_rdd(spark.sparkContext.parallelize([]), artifact, config=InferenceConfig(uri_column="uri"))
    assert_clear(caught.value, "uri_column", "RDD")


def test_drift_and_evaluation_take_uris(
    spark: SparkSession, folder: Path, artifact: ModelArtifact, tmp_path: Path,
) -> None:
    """The figures that the bytes give."""
    images = sparkq.read_images(spark, str(folder))
    listed, config = choose_reads(find_images(spark, str(folder)), InferenceConfig(), read="workers")
    assert sparkq.measure_drift(listed, artifact, sample=1, config=config) == sparkq.measure_drift(images, artifact, sample=1)
    labels = tmp_path / "labels.csv"
    labels.write_text("path,label\n" + "".join(f"{path},1\n" for path in sorted(folder.iterdir())))
    by_uri = sparkq.evaluate(listed, artifact, labels=str(labels), config=config)
    assert by_uri == sparkq.evaluate(images, artifact, labels=str(labels))
    assert by_uri.images == 60


@pytest.mark.parametrize("workers_read", [True, False])
def test_large_batches_in_both_directions(
    spark: SparkSession, artifact: ModelArtifact, tmp_path: Path, workers_read: bool,
) -> None:
    """Spark writes a task's input and reads its output in one thread: megabytes each way must not wait for each other."""
    photo = encoded(noise(1, size=200)[0])  # 120 kB
    (tmp_path / "photo.png").write_bytes(photo)
    df = spark.range(300, numPartitions=2).select(
        F.col("id").cast("string").alias("path"), F.expr("repeat(cast(id as string), 20000)").alias("ballast"),
        F.lit(f"file:{tmp_path}/photo.png").alias("uri") if workers_read else F.lit(bytearray(photo)).alias("content"),
    )
    config = InferenceConfig(uri_column="uri") if workers_read else InferenceConfig()
    predictions = sparkq.predict(df, artifact, config=config)
    rows = predictions.select("path", F.length("ballast").alias("ballast"), *predictions.columns[-9:]).collect()
    assert all(row["ballast"] == 20_000 * len(row["path"]) for row in rows)
    found = by_path(rows)
    assert len(found) == 300 and {str(row) for row in found.values()} == {str(found["0"])}
    assert found["0"]["status"] == "ok"


def test_a_limit_stops_early_and_the_next_job_runs(spark: SparkSession, folder: Path, artifact: ModelArtifact) -> None:
    """Spark then leaves its workers in the middle of their partitions."""
    df = spark.range(1200, numPartitions=2).select(F.lit(f"{folder}/000.png").alias("uri"))
    predictions = sparkq.predict(df, artifact, config=InferenceConfig(uri_column="uri"))
    assert len(predictions.limit(3).collect()) == 3
    assert predictions.where("status = 'ok'").count() == 1200
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("sparkq")]
