"""The columns that a prediction adds to its row, in Arrow."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from sparkq.artifact.manifest import Manifest
from sparkq.model_tasks import model_task_fields

__all__ = ["Outcome", "prediction_columns", "prediction_fields"]

_STATUS = pa.schema([("status", pa.string()), ("error_code", pa.string()), ("error_message", pa.string())])
_ORIGIN = pa.schema([("model_digest", pa.string()), ("engine", pa.string())])


def prediction_fields(model_task: str) -> pa.Schema:
    """Names and types of all added columns, in order; ``sparkq.spark.input.columns`` hands them to Spark."""
    return pa.schema([*_STATUS, *model_task_fields(model_task), *_ORIGIN])


@dataclass(frozen=True)
class Outcome:
    """The outcome of one row: values of its task's columns by name, or an error code and a sentence."""

    values: Mapping[str, Any] = field(default_factory=dict)
    error_code: str | None = None
    error_message: str | None = None


def prediction_columns(outcomes: list[Outcome], manifest: Manifest, *, engine: str) -> dict[str, pa.Array]:
    """Arrow columns of N outcomes, in the order of `prediction_fields`; an error has nulls in its task's columns."""
    added = model_task_fields(manifest.task)
    values: dict[str, list[Any]] = {
        "status": ["error" if outcome.error_code else "ok" for outcome in outcomes],
        "error_code": [outcome.error_code for outcome in outcomes],
        "error_message": [outcome.error_message for outcome in outcomes],
        **{name: [outcome.values.get(name) for outcome in outcomes] for name in added.names},
        "model_digest": [manifest.payload_sha256] * len(outcomes),
        "engine": [engine] * len(outcomes),
    }
    return {field.name: pa.array(values[field.name], field.type) for field in prediction_fields(manifest.task)}
