"""`SessionOptions`: which Spark session a command uses."""
from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SessionOptions"]


@dataclass(frozen=True, kw_only=True)
class SessionOptions:
    """Options of every command that needs Spark.

    Parameters
    ----------
    master : str, optional
        Spark master where no session exists; default local[*].
    """

    master: str | None = None
