"""Values of a JSON file by their type: a bool is no number, NaN is none, and what is wrong is said in one sentence."""
from __future__ import annotations

import math
import reprlib
from typing import Any

__all__ = ["finite_number", "listed", "mapped", "text", "texts", "whole_number"]

_LARGEST = 2**53


def whole_number(value: object, what: str, *, least: int = 0, most: int = _LARGEST) -> int:
    """A whole number from `least` to `most`; `what` is its key.

    Raises
    ------
    ValueError
        If `value` is anything else, as all functions here.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise _unexpected(what, f"a whole number from {least} to {most}", value)
    return value


def finite_number(value: object, what: str) -> float:
    """A number that is neither NaN nor infinite, as float."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < math.inf:
        raise _unexpected(what, "a finite number", value)
    try:
        return float(value)
    except OverflowError as error:
        raise _unexpected(what, "a finite number", value) from error


def text(value: object, what: str) -> str:
    """A string that can be written: JSON's escapes can name half of a surrogate pair."""
    if not isinstance(value, str):
        raise _unexpected(what, "text", value)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise _unexpected(what, "text", ascii(value)) from error
    return value


def texts(value: object, what: str) -> tuple[str, ...]:
    """A list of strings."""
    return tuple(text(item, what) for item in listed(value, what))


def listed(value: object, what: str) -> list[Any]:
    """A list, or a tuple, which JSON writes as one."""
    if not isinstance(value, (list, tuple)):
        raise _unexpected(what, "a list", value)
    return list(value)


def mapped(value: object, what: str) -> dict[str, Any]:
    """An object, whose keys are strings in JSON."""
    if not isinstance(value, dict):
        raise _unexpected(what, "keys and values", value)
    return value


def _unexpected(what: str, expected: str, value: object) -> ValueError:
    # A value may be as long as the file.
    return ValueError(f"{what}: expected {expected}; got {type(value).__name__} {reprlib.repr(value)}")
