"""Errors of other libraries, for sentences of ours."""
from __future__ import annotations

__all__ = ["one_line"]


def one_line(error: BaseException) -> str:
    """Kind and text of an error, at most 300 characters."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
