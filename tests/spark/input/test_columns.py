"""Spark's side of the row contract says the same as Arrow's."""
from __future__ import annotations

import pytest
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import BinaryType, LongType, StringType, StructField, StructType

from sparkq.config import MODEL_TASKS
from sparkq.model_tasks.columns import prediction_fields
from sparkq.spark.input.columns import added_fields, output_schema
from tests.spark.local import COLUMNS


@pytest.mark.parametrize("task", MODEL_TASKS)
def test_arrow_and_spark_agree(task: str) -> None:
    """The same names, types and order, read in both directions."""
    assert to_arrow_schema(added_fields(task)) == prediction_fields(task)


@pytest.mark.parametrize(("task", "columns"), {
    "classification": {
        "label": "int", "label_name": "string", "score": "float",
        "top_k": "array<struct<label:int,label_name:string,score:float>>",
    },
    "embedding": {"embedding": "array<float>"},
}.items())
def test_columns_of_each_model_task(task: str, columns: dict[str, str]) -> None:
    """Names and types that users read from Parquet."""
    types = {field.name: field.dataType.simpleString() for field in added_fields(task)}
    assert types == {
        "status": "string", "error_code": "string", "error_message": "string", **columns, "model_digest": "string",
        "engine": "string",
    }
    assert tuple(types) == COLUMNS or task != "classification"


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        (BinaryType(), ["id", "note"]),
        (StructType([StructField("origin", StringType()), StructField("data", BinaryType())]), ["id", "photo", "note"]),
    ],
    ids=["bytes_go", "struct_loses_its_data"],
)
def test_output_schema(content: BinaryType | StructType, kept: list[str]) -> None:
    """The input's fields in their place, without image bytes, then what is added."""
    schema = StructType([StructField("id", LongType(), False), StructField("photo", content), StructField("note", StringType())])
    found = output_schema(schema, "photo", model_task="classification")
    assert found.names == [*kept, *COLUMNS]
    assert found["id"] == schema["id"]
    if "photo" in kept:
        assert found["photo"].dataType == StructType([StructField("origin", StringType())])
