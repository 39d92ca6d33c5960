"""The columns that a prediction adds to its row, in Arrow."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sparkq.manifest import Manifest

__all__ = ["CLASSIFICATION_FIELDS", "Outcome", "prediction_columns"]

_RANKED = pa.struct([("label", pa.int32()), ("label_name", pa.string()), ("score", pa.float32())])

CLASSIFICATION_FIELDS = pa.schema([
    ("status", pa.string()),
    ("error_code", pa.string()),
    ("error_message", pa.string()),
    ("label", pa.int32()),
    ("label_name", pa.string()),
    ("score", pa.float32()),
    ("top_k", pa.list_(_RANKED)),
    ("model_digest", pa.string()),
    ("engine", pa.string()),
])
"""Names and types, in order; ``sparkq.spark.schemas`` says the same to Spark."""


@dataclass(frozen=True)
class Outcome:
    """What became of one row: labels and scores (best first), or an error code and a sentence."""

    labels: npt.NDArray[np.int64] | None = None
    scores: npt.NDArray[np.float32] | None = None
    error_code: str | None = None
    error_message: str | None = None


def prediction_columns(outcomes: list[Outcome], manifest: Manifest, *, engine: str) -> dict[str, pa.Array]:
    """Arrow columns of N outcomes, in the order of `CLASSIFICATION_FIELDS`."""
    best = [None if outcome.labels is None else int(outcome.labels[0]) for outcome in outcomes]
    values: dict[str, object] = {
        "status": ["error" if outcome.error_code else "ok" for outcome in outcomes],
        "error_code": [outcome.error_code for outcome in outcomes],
        "error_message": [outcome.error_message for outcome in outcomes],
        "label": best,
        "label_name": [_label_name(manifest, label) for label in best],
        "score": [None if outcome.scores is None else float(outcome.scores[0]) for outcome in outcomes],
        "top_k": [_ranking(manifest, outcome) for outcome in outcomes],
        "model_digest": [manifest.payload_sha256] * len(outcomes),
        "engine": [engine] * len(outcomes),
    }
    return {field.name: pa.array(values[field.name], field.type) for field in CLASSIFICATION_FIELDS}


def _label_name(manifest: Manifest, label: int | None) -> str | None:
    return None if label is None or manifest.labels is None else manifest.labels[label]


def _ranking(manifest: Manifest, outcome: Outcome) -> list[dict[str, object]] | None:
    if outcome.labels is None or outcome.scores is None:
        return None
    return [
        {"label": int(label), "label_name": _label_name(manifest, int(label)), "score": float(score)}
        for label, score in zip(outcome.labels, outcome.scores, strict=True)
    ]
