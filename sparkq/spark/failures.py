"""Spark wraps what a worker raised in pages of Java: find our own sentence in it."""
from __future__ import annotations

import re

import sparkq.errors
from sparkq.errors import SparkqError

__all__ = ["expected_failure"]


def expected_failure(error: BaseException) -> SparkqError | None:
    """The `SparkqError` that a Python worker raised, or None if it raised something else."""
    found = re.search(r"^\s*(?:[\w.]*: )?sparkq\.errors\.(\w+): (.+)$", str(error), re.MULTILINE)
    kind = getattr(sparkq.errors, found.group(1), None) if found else None
    if found is None or not (isinstance(kind, type) and issubclass(kind, SparkqError)):
        return None
    message, _, hint = found.group(2).partition(" Hint: ")
    return kind(message, hint=hint or None)
