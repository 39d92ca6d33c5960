"""`predict` and `predict_rdd`: the row contract, whatever comes in and however Spark cuts it."""
from __future__ import annotations

import datetime
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession

import sparkq
from sparkq.artifact.file import ModelArtifact
from sparkq.config import InferenceConfig
from sparkq.errors import EngineError, InputError
from tests.models import REFERENCES, digits_artifact, encoded, noise, reference_artifact, reference_files
from tests.spark.local import COLUMNS, added, assert_clear, by_path, local_row

Expected = dict[str, dict[str, Any]]


def test_local_predictions_differ_between_images(expected: Expected) -> None:
    """A mix-up of rows must show in these tests: the expected rows are of many digits and scores."""
    assert len({row["label"] for row in expected.values()}) == 10
    assert len({row["score"] for row in expected.values()}) > 40


def test_predict_is_lazy(spark: SparkSession, images_df: DataFrame, artifact: ModelArtifact) -> None:
    """No Spark job runs before the result is used."""
    context = spark.sparkContext
    context.setJobGroup("lazy", "predict")
    try:
        predictions = sparkq.predict(images_df, artifact)
        assert list(context.statusTracker().getJobIdsForGroup("lazy")) == []
        assert predictions.count() == images_df.count()
        assert len(context.statusTracker().getJobIdsForGroup("lazy")) > 0
    finally:
        context.setLocalProperty("spark.jobGroup.id", None)


def test_predict_is_one_fused_operator(folder: Path, spark: SparkSession, artifact: ModelArtifact) -> None:
    """The plan has one mapInArrow, no other Python operator and no shuffle."""
    predictions = sparkq.predict(sparkq.read_images(spark, str(folder)), artifact)
    plan = predictions._jdf.queryExecution().executedPlan().toString()
    assert plan.count("MapInArrow") == 1
    for other in ("EvalPython", "Exchange", "MapInPandas"):
        assert other not in plan


@pytest.mark.parametrize("partitions", [1, 3, 20])
def test_predictions_do_not_depend_on_the_partitioning(
    images_df: DataFrame, artifact: ModelArtifact, expected: Expected, partitions: int,
) -> None:
    """Bit for bit what the local predictor says of each image alone."""
    predictions = sparkq.predict(images_df.repartition(partitions), artifact)
    assert predictions.rdd.getNumPartitions() == partitions
    assert by_path(predictions.collect()) == expected


@pytest.mark.parametrize("engine", ["x86", "onednn", "openvino"])
def test_every_engine_gives_the_same_rows(images_df: DataFrame, artifact: ModelArtifact, expected: Expected, engine: str) -> None:
    """And says that it was it: labels to the digit, scores but for the last ones of float sums."""
    rows = by_path(sparkq.predict(images_df.coalesce(2), artifact, config=InferenceConfig(engine=engine)).collect())
    assert {row["engine"] for row in rows.values()} == {engine} and rows.keys() == expected.keys()
    for path, row in rows.items():
        assert (row["status"], row["label"]) == (expected[path]["status"], expected[path]["label"])
        assert row["score"] == pytest.approx(expected[path]["score"], rel=1e-5)


@pytest.mark.parametrize(
    ("batch_size", "arrow_rows"), [(1, 10_000), (7, 10_000), (64, 10_000), (16, 1), (16, 7)],
    ids=["single", "odd", "larger_than_partition", "arrow_single", "arrow_odd"],
)
def test_predictions_do_not_depend_on_batch_mates(
    spark: SparkSession, images_df: DataFrame, artifact: ModelArtifact, expected: Expected, batch_size: int, arrow_rows: int,
) -> None:
    """Whatever the model's batch and Spark's record batches hold."""
    key = "spark.sql.execution.arrow.maxRecordsPerBatch"
    spark.conf.set(key, arrow_rows)
    try:
        predictions = sparkq.predict(images_df.coalesce(2), artifact, config=InferenceConfig(batch_size=batch_size))
        assert by_path(predictions.collect()) == expected
    finally:
        spark.conf.unset(key)


@pytest.mark.parametrize("name", ["mobilenet", "squeezenet"])
def test_predictions_of_photos(spark: SparkSession, shared_data: Path, name: str) -> None:
    """Real JPEGs of any size through real models: decoding at reduced scale and cropping are the same everywhere."""
    artifact = reference_artifact(shared_data, name)
    photos = {str(index): content for index, content in enumerate(reference_files(shared_data, name, 10))}
    df = spark.createDataFrame([(key, bytearray(content)) for key, content in photos.items()], "path string, content binary")
    expected = {key: local_row(artifact, content) for key, content in photos.items()}
    assert by_path(sparkq.predict(df.repartition(3), artifact).collect()) == expected
    assert REFERENCES[name].preprocess == artifact.manifest.preprocess


def test_rows_leave_in_the_order_they_came(images_df: DataFrame, artifact: ModelArtifact, files: dict[str, bytes]) -> None:
    """Inside a partition."""
    rows = sparkq.predict(images_df.coalesce(1), artifact, config=InferenceConfig(batch_size=7)).collect()
    assert [row["path"] for row in rows] == list(files)


def test_binary_file_rows(folder: Path, spark: SparkSession, artifact: ModelArtifact, expected: Expected) -> None:
    """``spark.read.format("binaryFile")`` as it is: its columns stay, ``content`` goes."""
    images = spark.read.format("binaryFile").load(str(folder))
    predictions = sparkq.predict(images, artifact)
    assert predictions.columns == ["path", "modificationTime", "length", *COLUMNS]
    rows = predictions.collect()
    assert {row["path"].rpartition("/")[2]: added(row) for row in rows} == expected
    assert all(row["length"] == (folder / row["path"].rpartition("/")[2]).stat().st_size for row in rows)


@pytest.mark.parametrize("named", [True, False], ids=["content_column", "the_only_binary_column"])
def test_any_binary_column(images_df: DataFrame, artifact: ModelArtifact, expected: Expected, named: bool) -> None:
    """A column of another name, asked for or found."""
    config = InferenceConfig(content_column="jpeg_bytes") if named else None
    predictions = sparkq.predict(images_df.withColumnRenamed("content", "jpeg_bytes"), artifact, config=config)
    assert predictions.columns == ["path", *COLUMNS]
    assert by_path(predictions.collect()) == expected


def test_content_column_among_several(images_df: DataFrame, artifact: ModelArtifact, expected: Expected) -> None:
    """Only the named column is dropped; another binary column is the user's."""
    df = images_df.withColumnRenamed("content", "large").selectExpr("*", "cast('thumb' as binary) as small")
    predictions = sparkq.predict(df, artifact, config=InferenceConfig(content_column="large"))
    assert predictions.columns == ["path", "small", *COLUMNS]
    rows = predictions.collect()
    assert by_path(rows) == expected
    assert {bytes(row["small"]) for row in rows} == {b"thumb"}


def test_spark_image_source(spark: SparkSession, tmp_path: Path, artifact: ModelArtifact) -> None:
    """Rows of ``spark.read.format("image")``: gray, color and alpha PNGs give the same as the files' bytes."""
    pixels = noise(4, size=20)
    alpha = np.concatenate([pixels[2], np.full((20, 20, 1), 255, np.uint8)], axis=2)
    contents = {
        "color.png": encoded(pixels[0]), "gray.png": encoded(pixels[1][:, :, 0]), "alpha.png": encoded(alpha),
        "digit.png": encoded(pixels[3]),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    rows = sparkq.predict(spark.read.format("image").load(str(tmp_path)), artifact).collect()
    assert rows[0]["image"].asDict().keys() == {"origin", "height", "width", "nChannels", "mode"}
    found = {row["image"]["origin"].rpartition("/")[2]: added(row) for row in rows}
    assert found == {name: local_row(artifact, content) for name, content in contents.items()}


def test_input_columns_of_every_type_are_kept(spark: SparkSession, artifact: ModelArtifact, files: dict[str, bytes]) -> None:
    """Values leave as they came, nulls too."""
    schema = (
        "id long, taken timestamp, day date, price decimal(10,2), tags array<string>, place struct<lat:double,lon:double>, "
        "attributes map<string,int>, note string, content binary"
    )
    values = (
        7, datetime.datetime(2024, 2, 29, 23, 59, 59, 123456), datetime.date(1999, 12, 31), Decimal("12.34"), ["a", "b"],
        (1.5, -2.5), {"k": 1}, None,
    )
    nulls = (8, *[None] * 7)
    content = bytearray(next(iter(files.values())))
    df = spark.createDataFrame([(*values, content), (*nulls, content)], schema)
    predictions = sparkq.predict(df, artifact)
    kept = [field.name for field in df.schema if field.name != "content"]
    assert predictions.columns == [*kept, *COLUMNS]
    assert predictions.select(kept).orderBy("id").collect() == df.select(kept).orderBy("id").collect()


def test_empty_dataframe(images_df: DataFrame, artifact: ModelArtifact) -> None:
    """No rows in, no rows out, all columns."""
    predictions = sparkq.predict(images_df.limit(0), artifact)
    assert predictions.collect() == []
    assert predictions.columns == ["path", *COLUMNS]


@pytest.mark.parametrize(("top_k", "length"), [(1, 1), (3, 3), (50, 10)])
def test_top_k(images_df: DataFrame, artifact: ModelArtifact, expected: Expected, top_k: int, length: int) -> None:
    """Best first, never longer than the number of classes; the first is the label."""
    for row in sparkq.predict(images_df.limit(5), artifact, config=InferenceConfig(top_k=top_k)).collect():
        scores = [entry["score"] for entry in row["top_k"]]
        assert len(scores) == length and scores == sorted(scores, reverse=True)
        assert (row["top_k"][0]["label"], row["top_k"][0]["score"]) == (row["label"], row["score"])
        assert row["label"] == expected[row["path"]]["label"]


def test_artifact_without_class_names(images_df: DataFrame, artifact: ModelArtifact, expected: Expected) -> None:
    """``label_name`` is null, everything else as with names."""
    nameless = replace(artifact, manifest=replace(artifact.manifest, labels=None))
    for row in sparkq.predict(images_df.limit(5), nameless).collect():
        assert row["label_name"] is None and {entry["label_name"] for entry in row["top_k"]} == {None}
        assert (row["label"], row["score"]) == (expected[row["path"]]["label"], expected[row["path"]]["score"])


def test_float_artifact(images_df: DataFrame, files: dict[str, bytes]) -> None:
    """A float artifact runs on its own engine and says so."""
    float_artifact = digits_artifact("none")
    rows = sparkq.predict(images_df, float_artifact).collect()
    assert {(row["engine"], row["model_digest"]) for row in rows} == {("float32", float_artifact.digest)}
    local = {name: local_row(float_artifact, content)["label"] for name, content in files.items()}
    assert {row["path"]: row["label"] for row in rows} == local


def test_predict_rdd_gives_the_same(
    spark: SparkSession, artifact: ModelArtifact, files: dict[str, bytes], expected: Expected,
) -> None:
    """With keys that no Arrow column could hold, and partitions that are no multiple of a batch."""
    pairs = [((name, frozenset({name})), content) for name, content in files.items()]
    predicted = sparkq.predict_rdd(spark.sparkContext.parallelize(pairs, 7), artifact, config=InferenceConfig(batch_size=4))
    found = predicted.collect()
    assert [key for key, _ in found] == [key for key, _ in pairs]
    assert {key[0]: row for key, row in found} == expected


@pytest.mark.parametrize(
    ("schema", "content_column", "words"),
    [
        ("path string, content string", None, ("'content'", "binary", "string")),
        ("path string, content array<int>", None, ("'content'", "array<int>")),
        ("path string, id int", None, ("binary", "path string, id int")),
        ("first binary, second binary", None, ("got 2", "first", "second")),
        ("path string, content binary", "pixels", ("'pixels'", "content binary")),
        ("path string, content binary", "path", ("'path'", "string")),
        ("image struct<height:int,data:binary>", "image", ("'image'", "struct<")),
        ("content binary, label int", None, ("label", "true_label")),
        ("content binary, Status string", None, ("Status",)),
        ("content binary, top_k int, engine int", None, ("top_k", "engine")),
    ],
    ids=[
        "string_content", "array_content", "no_image_column", "two_binary_columns", "missing_content_column",
        "wrong_content_column", "foreign_struct", "label_exists", "status_exists_in_capitals", "two_exist",
    ],
)
def test_unusable_columns(
    spark: SparkSession, artifact: ModelArtifact, schema: str, content_column: str | None, words: tuple[str, ...],
) -> None:
    """Said on the driver, before anything runs."""
    with pytest.raises(InputError) as caught:
        sparkq.predict(spark.createDataFrame([], schema), artifact, config=InferenceConfig(content_column=content_column))
    assert_clear(caught.value, *words)
    assert caught.value.hint or content_column == "pixels"


def test_engine_that_does_not_fit(images_df: DataFrame, artifact: ModelArtifact) -> None:
    """Said on the driver, before anything runs."""
    with pytest.raises(EngineError) as caught:
        sparkq.predict(images_df, artifact, config=InferenceConfig(engine="float32"))
    assert_clear(caught.value, "float32", "static", "fbgemm")
