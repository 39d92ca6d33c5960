"""`Command`: a subcommand of ``sparkq``."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sparkq.errors import SparkqError

__all__ = ["Command"]


@dataclass(frozen=True)
class Command:
    """One subcommand of ``sparkq``.

    Parameters
    ----------
    options : type
        Frozen dataclass: its fields are config keys and options.
    run : callable
        Options to a mapping of plain JSON values, which is what ``--json`` prints.
    show : callable
        That mapping to text for people.
    summary : str
        One line.
    example : str
        One command line.
    is_kept : bool
        Whether what it does is on storage when it ends, so that a result which cannot be printed is no failure.
    failure : callable
        That mapping to what is wrong all the same: the result is printed, and the command fails.
    """

    options: type
    run: Callable[[Any], dict[str, Any]]
    show: Callable[[dict[str, Any]], str]
    summary: str
    example: str
    failure: Callable[[dict[str, Any]], SparkqError | None] = lambda result: None
    is_kept: bool = False
