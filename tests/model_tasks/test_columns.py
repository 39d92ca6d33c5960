"""Arrow columns of predictions: names and types of the row contract, nulls where there is nothing to say."""
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from sparkq.artifact.manifest import Manifest
from sparkq.model_tasks import model_task_of
from sparkq.model_tasks.columns import Outcome, prediction_columns, prediction_fields
from tests.sample_artifacts import sample_manifest

RANKED = pa.struct([("label", pa.int32()), ("label_name", pa.string()), ("score", pa.float32())])
STATUS = [("status", pa.string()), ("error_code", pa.string()), ("error_message", pa.string())]
ORIGIN = [("model_digest", pa.string()), ("engine", pa.string())]
BAD = Outcome(error_code="not_an_image", error_message="got a text")
OUTPUTS = np.log(np.array([[0.2, 0.05, 0.75]], np.float32))
MANIFESTS = {
    "classification": sample_manifest(labels=("ant", "bee", "cow")),
    "embedding": sample_manifest(task="embedding", labels=None, classes=0, scores=None, embedding_layer="pool"),
}


def outcome(manifest: Manifest) -> Outcome:
    """Of `OUTPUTS`."""
    return Outcome(model_task_of(manifest).rows(OUTPUTS, geometries=[], top_k=2)[0])


@pytest.mark.parametrize(("task", "fields"), {
    "classification": [
        ("label", pa.int32()), ("label_name", pa.string()), ("score", pa.float32()), ("top_k", pa.list_(RANKED)),
    ],
    "embedding": [("embedding", pa.list_(pa.float32()))],
}.items())
def test_names_and_types_of_the_row_contract(task: str, fields: list[tuple[str, pa.DataType]]) -> None:
    assert prediction_fields(task) == pa.schema([*STATUS, *fields, *ORIGIN])


@pytest.mark.parametrize("manifest", MANIFESTS.values(), ids=MANIFESTS)
@pytest.mark.parametrize("rows", ["", "g", "b", "gb", "bgg"])
def test_columns_have_them_whatever_the_outcomes(rows: str, manifest: Manifest) -> None:
    columns = prediction_columns([outcome(manifest) if row == "g" else BAD for row in rows], manifest, engine="fbgemm")
    fields = prediction_fields(manifest.task)
    assert list(columns) == fields.names
    assert [column.type for column in columns.values()] == fields.types
    assert {len(column) for column in columns.values()} == {len(rows)}
    for column in list(columns.values())[len(STATUS):-len(ORIGIN)]:
        assert column.is_null().to_pylist() == [row == "b" for row in rows]


def test_values_of_a_classification() -> None:
    manifest = MANIFESTS["classification"]
    found = prediction_columns([outcome(manifest), BAD], manifest, engine="x")
    columns = {name: column.to_pylist() for name, column in found.items()}
    scores = [pytest.approx(0.75), pytest.approx(0.2)]
    assert columns == {
        "status": ["ok", "error"],
        "error_code": [None, "not_an_image"],
        "error_message": [None, "got a text"],
        "label": [2, None],
        "label_name": ["cow", None],
        "score": [scores[0], None],
        "top_k": [
            [{"label": 2, "label_name": "cow", "score": scores[0]}, {"label": 0, "label_name": "ant", "score": scores[1]}], None,
        ],
        "model_digest": [manifest.payload_sha256] * 2,
        "engine": ["x", "x"],
    }


def test_an_embedding_is_the_output_to_the_bit() -> None:
    manifest = MANIFESTS["embedding"]
    found = prediction_columns([outcome(manifest), BAD], manifest, engine="x")["embedding"]
    assert np.asarray(found[0].values).tobytes() == OUTPUTS[0].tobytes() and not found[1].is_valid


def test_without_label_names() -> None:
    manifest = replace(MANIFESTS["classification"], labels=None)
    columns = prediction_columns([outcome(manifest), BAD], manifest, engine="fbgemm")
    assert columns["label_name"].to_pylist() == [None, None]
    assert [ranked["label_name"] for ranked in columns["top_k"][0].as_py()] == [None, None]
    assert columns["label"].to_pylist() == [2, None]
