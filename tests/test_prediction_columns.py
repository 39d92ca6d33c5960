"""Arrow columns of predictions: names and types of the row contract, nulls where there is nothing to say."""
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from models import digits_artifact

from sparkq.manifest import Manifest
from sparkq.prediction_columns import CLASSIFICATION_FIELDS, Outcome, prediction_columns

RANKED = pa.struct([("label", pa.int32()), ("label_name", pa.string()), ("score", pa.float32())])
GOOD = Outcome(labels=np.array([7, 1]), scores=np.array([0.75, 0.2], np.float32))
BAD = Outcome(error_code="not_an_image", error_message="got a text")


@pytest.fixture
def manifest() -> Manifest:
    """With a name for each digit."""
    return digits_artifact().manifest


def test_names_and_types_of_the_row_contract() -> None:
    assert CLASSIFICATION_FIELDS == pa.schema([
        ("status", pa.string()), ("error_code", pa.string()), ("error_message", pa.string()), ("label", pa.int32()),
        ("label_name", pa.string()), ("score", pa.float32()), ("top_k", pa.list_(RANKED)), ("model_digest", pa.string()),
        ("engine", pa.string()),
    ])


@pytest.mark.parametrize("outcomes", [[GOOD, BAD], [BAD], [GOOD], []], ids=["both", "bad", "good", "none"])
def test_columns_have_them_whatever_the_outcomes(outcomes: list[Outcome], manifest: Manifest) -> None:
    columns = prediction_columns(outcomes, manifest, engine="fbgemm")
    assert list(columns) == CLASSIFICATION_FIELDS.names
    assert [column.type for column in columns.values()] == CLASSIFICATION_FIELDS.types
    assert {len(column) for column in columns.values()} == {len(outcomes)}


def test_values(manifest: Manifest) -> None:
    columns = {name: column.to_pylist() for name, column in prediction_columns([GOOD, BAD], manifest, engine="x").items()}
    score, second = 0.75, float(np.float32(0.2))
    assert columns == {
        "status": ["ok", "error"],
        "error_code": [None, "not_an_image"],
        "error_message": [None, "got a text"],
        "label": [7, None],
        "label_name": ["seven", None],
        "score": [score, None],
        "top_k": [
            [{"label": 7, "label_name": "seven", "score": score}, {"label": 1, "label_name": "one", "score": second}], None,
        ],
        "model_digest": [manifest.payload_sha256] * 2,
        "engine": ["x", "x"],
    }


def test_without_label_names(manifest: Manifest) -> None:
    columns = prediction_columns([GOOD, BAD], replace(manifest, labels=None), engine="fbgemm")
    assert columns["label_name"].to_pylist() == [None, None]
    assert [ranked["label_name"] for ranked in columns["top_k"][0].as_py()] == [None, None]
    assert columns["label"].to_pylist() == [7, None]
