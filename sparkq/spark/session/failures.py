"""Spark wraps what a worker raised in pages of Java: find our own sentence in it."""
from __future__ import annotations

import re

import sparkq.errors
from sparkq.errors import SparkqError

__all__ = ["expected_failure", "root_message"]


def expected_failure(error: BaseException) -> SparkqError | None:
    """The `SparkqError` that a Python worker raised, or None if it raised something else."""
    found = re.search(r"^\s*(?:[\w.]*: )?sparkq\.errors\.(\w+): (.+)$", str(error), re.MULTILINE)
    kind = getattr(sparkq.errors, found.group(1), None) if found else None
    if found is None or not (isinstance(kind, type) and issubclass(kind, SparkqError)):
        return None
    message, _, hint = found.group(2).partition(" Hint: ")
    return kind(message, hint=hint or None)


def root_message(error: BaseException) -> str:
    """The first line of what Java says of the innermost cause, or of the error itself."""
    cause = getattr(error, "java_exception", None)
    while cause is not None and cause.getCause() is not None:
        cause = cause.getCause()
    text = str(error if cause is None else cause.getMessage()).strip()
    return text.partition("\n")[0].rstrip(".") or type(error).__name__
