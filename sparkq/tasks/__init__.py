"""What is made of a payload's raw outputs: one module a task, and how the manifest's task becomes one."""
from __future__ import annotations

import pyarrow as pa

from sparkq.errors import InputError
from sparkq.manifest import Manifest
from sparkq.tasks.base import Task
from sparkq.tasks.classification import Classification
from sparkq.tasks.detection import Detection
from sparkq.tasks.embedding import Embedding, cosine_similarity

__all__ = [
    "Classification", "Detection", "Embedding", "Task", "cosine_similarity", "require_task", "task_fields", "task_of",
    "task_type",
]

_TASKS: dict[str, type[Task]] = {"classification": Classification, "embedding": Embedding, "detection": Detection}


def task_type(name: str) -> type[Task]:
    """The class of the task of this name, one of `sparkq.config.TASKS`."""
    return _TASKS[name]


def task_fields(name: str) -> pa.Schema:
    """Names and types of the columns that the task adds to a row beside those that all tasks have."""
    return _TASKS[name].fields


def task_of(manifest: Manifest) -> Task:
    """That of an artifact."""
    return _TASKS[manifest.task].of(manifest)


def require_task(manifest: Manifest, name: str, *, what: str, hint: str | None = None) -> None:
    """Raise `InputError` unless an artifact is of this task; `what` asks for it."""
    if manifest.task != name:
        raise InputError(
            f"{what}: expected an artifact of task {name}; got {manifest.name!r} of task {manifest.task}.", hint=hint,
        )
