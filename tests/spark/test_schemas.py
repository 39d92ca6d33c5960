"""Spark's side of the row contract says the same as Arrow's."""
from __future__ import annotations

import pyarrow as pa
import pytest
from models import digits_artifact
from pyspark.sql.pandas.types import from_arrow_schema, to_arrow_schema
from pyspark.sql.types import BinaryType, LongType, StringType, StructField, StructType

from sparkq.prediction_columns import CLASSIFICATION_FIELDS, Outcome, prediction_columns
from sparkq.spark.schemas import PREDICTION_FIELDS, output_schema

from .local import COLUMNS


def test_arrow_and_spark_agree() -> None:
    """The same names, types and order, read in both directions."""
    assert from_arrow_schema(CLASSIFICATION_FIELDS) == PREDICTION_FIELDS
    assert to_arrow_schema(PREDICTION_FIELDS) == CLASSIFICATION_FIELDS


def test_columns_of_the_design() -> None:
    """Names and types that users read from Parquet."""
    types = {field.name: field.dataType.simpleString() for field in PREDICTION_FIELDS}
    assert tuple(types) == COLUMNS
    assert types == {
        "status": "string", "error_code": "string", "error_message": "string", "label": "int", "label_name": "string",
        "score": "float", "top_k": "array<struct<label:int,label_name:string,score:float>>", "model_digest": "string",
        "engine": "string",
    }


def test_columns_that_are_built_have_these_types() -> None:
    """An error row alone, where nothing could be inferred from values."""
    columns = prediction_columns([Outcome(error_code="c", error_message="m")], digits_artifact().manifest, engine="fbgemm")
    assert pa.schema([(name, column.type) for name, column in columns.items()]) == CLASSIFICATION_FIELDS


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
    found = output_schema(schema, "photo")
    assert found.names == [*kept, *COLUMNS]
    assert found["id"] == schema["id"]
    if "photo" in kept:
        assert found["photo"].dataType == StructType([StructField("origin", StringType())])
