"""The model tasks: one module each turns a payload's raw outputs into rows, and the manifest names the one to take."""
from __future__ import annotations

import pyarrow as pa

from sparkq.artifact.manifest import Manifest
from sparkq.errors import InputError
from sparkq.model_tasks.base import ModelTask
from sparkq.model_tasks.classification import Classification
from sparkq.model_tasks.detection.task import Detection
from sparkq.model_tasks.embedding import Embedding, cosine_similarity

__all__ = [
    "Classification", "Detection", "Embedding", "ModelTask", "cosine_similarity", "model_task_fields", "model_task_of",
    "model_task_type", "require_model_task",
]

_MODEL_TASKS: dict[str, type[ModelTask]] = {"classification": Classification, "embedding": Embedding, "detection": Detection}


def model_task_type(name: str) -> type[ModelTask]:
    """The class of the task of this name, one of `sparkq.config.MODEL_TASKS`."""
    return _MODEL_TASKS[name]


def model_task_fields(name: str) -> pa.Schema:
    """Names and types of the columns that the task adds to a row beside those that all tasks have."""
    return _MODEL_TASKS[name].fields


def model_task_of(manifest: Manifest) -> ModelTask:
    """Make the model task of an artifact."""
    return _MODEL_TASKS[manifest.task].of(manifest)


def require_model_task(manifest: Manifest, name: str, *, what: str, hint: str | None = None) -> None:
    """Raise `InputError` unless an artifact is of this task; `what` asks for it."""
    if manifest.task != name:
        raise InputError(
            f"{what}: expected an artifact of task {name}; got {manifest.name!r} of task {manifest.task}.", hint=hint,
        )
