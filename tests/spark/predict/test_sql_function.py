"""`register_udf`: SQL asks, and each row is answered as `predict` answers it."""
from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import sparkq
from sparkq.artifact.file import ModelArtifact
from sparkq.config import InferenceConfig
from sparkq.errors import ConfigError, EngineError, InputError
from sparkq.model_tasks.columns import prediction_fields
from sparkq.spark.predict.sql_function import answers, answers_in_pandas
from sparkq.worker.predictor import Predictor
from tests.models import digits
from tests.spark.local import COLUMNS, assert_clear

Expected = dict[str, dict[str, Any]]


@pytest.fixture(scope="module", autouse=True)
def classify(spark: SparkSession, images_df: DataFrame, artifact: ModelArtifact) -> Any:
    """The function, and a view of 60 digits, an empty file and a null."""
    broken = spark.createDataFrame([("empty.png", bytearray()), ("null.png", None)], images_df.schema)
    images_df.union(broken).coalesce(2).createOrReplaceTempView("images")
    return sparkq.register_udf(spark, "classify", artifact)


def test_every_row_gets_the_struct_of_its_image(spark: SparkSession, expected: Expected) -> None:
    """The row contract, broken images included."""
    rows = spark.sql("SELECT path, classify(content) AS answer FROM images").collect()
    found = {row["path"]: row["answer"].asDict(recursive=True) for row in rows}
    assert len(rows) == len(found) == 62
    assert list(found["empty.png"]) == list(COLUMNS)
    assert {path: found[path] for path in expected} == expected
    assert [(found[path]["status"], found[path]["error_code"]) for path in ("empty.png", "null.png")] == [
        ("error", "empty_content"), ("error", "missing_content"),
    ]


def test_queries(spark: SparkSession, expected: Expected) -> None:
    """WHERE, GROUP BY and fields of one answer, for which the model is run once."""
    counted = spark.sql(
        "SELECT classify(content).label_name AS name, count(*) AS n FROM images WHERE classify(content).status = 'ok' "
        "AND path < '030' GROUP BY 1"
    ).collect()
    names = [row["label_name"] for path, row in expected.items() if path < "030"]
    assert {row["name"]: row["n"] for row in counted} == {name: names.count(name) for name in names}
    fields = spark.sql("SELECT classify(content).label, classify(content).score FROM images")
    assert fields._jdf.queryExecution().executedPlan().toString().count("ArrowEvalPython") == 1
    assert spark.sql("SELECT path, classify(content).label FROM images WHERE path = '007.png'").collect() == [
        ("007.png", expected["007.png"]["label"]),
    ]


def test_the_function_for_dataframes(spark: SparkSession, classify: Any, expected: Expected) -> None:
    """What `register_udf` gives back."""
    row = spark.table("images").where("path = '003.png'").select(classify("content").alias("answer")).first()
    assert row is not None and row["answer"]["label"] == expected["003.png"]["label"]


def test_paths(folder: Path, spark: SparkSession, artifact: ModelArtifact, expected: Expected) -> None:
    """A string is where the image is: workers read it; `config` says how."""
    paths = [(str(folder / name),) for name in expected] + [("/nowhere.png",)]
    spark.createDataFrame(paths, "file string").coalesce(1).createOrReplaceTempView("listed")
    sparkq.register_udf(spark, "best_two", artifact, config=InferenceConfig(top_k=2, batch_size=7, engine="onednn"))
    rows = spark.sql("SELECT file, best_two(file) AS answer FROM listed").collect()
    assert rows[-1]["answer"]["error_code"] == "not_found"
    assert {row["answer"]["engine"] for row in rows} == {"onednn"} and len(rows[0]["answer"]["top_k"]) == 2
    found = {os.path.basename(row["file"]): row["answer"]["label"] for row in rows[:-1]}
    assert found == {name: row["label"] for name, row in expected.items()}


def _loads(spark: SparkSession) -> dict[int, int]:
    """Python worker of SQL to models that it has loaded, of those that answer."""
    def counted(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from sparkq.worker.predictor_cache import models_loaded

        for batch in batches:
            yield pa.RecordBatch.from_pylist([{"worker": os.getpid(), "loads": models_loaded()}] * batch.num_rows)

    rows = spark.range(0, 16, 1, 16).mapInArrow(counted, "worker long, loads long").collect()
    return {row["worker"]: row["loads"] for row in rows}


def test_a_worker_loads_the_model_once(spark: SparkSession, images_df: DataFrame, artifact: ModelArtifact) -> None:
    """Not once a task, not once a batch; two queries run it where it is."""
    named = dataclasses.replace(artifact, manifest=dataclasses.replace(artifact.manifest, name="loaded once"))
    counted, before = sparkq.register_udf(spark, "counted", named), _loads(spark)
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "3")
    try:
        for _ in range(2):
            answered = images_df.repartition(6).withColumn("answer", counted("content"))
            assert answered.where("answer.status = 'ok'").count() == 60
    finally:
        spark.conf.unset("spark.sql.execution.arrow.maxRecordsPerBatch")
    loaded = {worker: loads - before.get(worker, 0) for worker, loads in _loads(spark).items()}
    assert 1 in loaded.values() and set(loaded.values()) <= {0, 1}


def test_what_is_no_image_is_refused(spark: SparkSession) -> None:
    with pytest.raises(PySparkException, match="InputError: image: expected encoded images"):
        spark.sql("SELECT classify(1)").collect()


@pytest.mark.parametrize(("name", "config", "kind", "words"), [
    ("drop table", None, ConfigError, "drop table"), ("", None, ConfigError, "name"),
    ("f", InferenceConfig(content_column="content"), ConfigError, "content_column"),
    ("f", InferenceConfig(engine="float32"), EngineError, "float32"),
])
def test_what_cannot_be_registered(
    spark: SparkSession, artifact: ModelArtifact, name: str, config: InferenceConfig | None, kind: type, words: str,
) -> None:
    """One sentence, and no function."""
    with pytest.raises(kind) as caught:
        sparkq.register_udf(spark, name, artifact, config=config)
    assert_clear(caught.value, words)
    assert not name.isidentifier() or not spark.catalog.functionExists(name)


class _LocalModel:
    """A handle of a model that is here already."""

    def __init__(self, artifact: ModelArtifact) -> None:
        self._predictor = Predictor(artifact)

    def predictor(self) -> Predictor:
        """It."""
        return self._predictor


def _spark_image(pixels: np.ndarray[Any, Any]) -> dict[str, Any]:
    height, width, channels = pixels.shape
    bgr = pixels[..., ::-1].tobytes()
    return {"origin": "", "height": height, "width": width, "nChannels": channels, "mode": 16, "data": bgr}


@pytest.mark.parametrize("kind", ["encoded", "struct", "paths", "nulls"])
def test_the_function_of_older_versions_of_spark(
    artifact: ModelArtifact, files: dict[str, bytes], folder: Path, kind: str,
) -> None:
    """Which hand over pandas' objects: the same answers, in types that Spark makes Arrow's of again."""
    given: dict[str, list[Any]] = {
        "encoded": [*list(files.values())[:20], b"", None],
        "paths": [*(str(folder / name) for name in list(files)[:20]), "/no", None],
        "struct": [_spark_image(image) for image in digits()[1].images[:20]], "nulls": [None, None],
    }
    values = given[kind]
    table = pd.DataFrame(values) if kind == "struct" else pd.Series(values, dtype=object)
    model: Any = _LocalModel(artifact)
    config = InferenceConfig(batch_size=16)
    found = pd.concat(answers_in_pandas(iter([table[:9], table[9:]]), model=model, config=config))
    column = pa.array(values, None if kind != "nulls" else pa.binary())
    wanted = [row for part in answers(iter([column]), model=model, config=config) for row in part.to_pylist()]
    fields = prediction_fields("classification")
    arrays = [pa.array(found[field.name], field.type, from_pandas=True) for field in fields]
    back = pa.RecordBatch.from_arrays(arrays, schema=fields)
    assert back.to_pylist() == wanted and len(wanted) == len(values)


def test_answers_refuse_numbers(artifact: ModelArtifact) -> None:
    with pytest.raises(InputError) as caught:
        list(answers(iter([pa.array([1])]), model=_LocalModel(artifact), config=InferenceConfig()))  # type: ignore[arg-type]
    assert_clear(caught.value, "int64", "binary")


def test_the_column_type_is_the_one_of_predict(spark: SparkSession, images_df: DataFrame, artifact: ModelArtifact) -> None:
    """So that SQL and `predict` write the same Parquet."""
    answered = spark.sql("SELECT path, classify(content) AS answer FROM images").select("path", F.col("answer.*"))
    assert answered.dtypes == sparkq.predict(images_df, artifact).dtypes
