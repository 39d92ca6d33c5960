"""Checks of single values. Each raises one sentence that names the key, what was expected and what was found."""
from __future__ import annotations

import math
import re
from typing import Any

from sparkq.errors import ConfigError

__all__ = ["check_choice", "check_positive", "check_run_id", "check_share", "number", "pair", "per_channel"]


def check_choice(place: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise `ConfigError` unless `value` is one of `choices`; `place` is its key."""
    if value not in choices:
        raise ConfigError(f"{place}: expected one of {', '.join(choices)}; got {value!r}.")


def check_positive(place: str, value: object) -> None:
    """Raise `ConfigError` unless `value` is a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{place}: expected a whole number of at least 1; got {value!r}.")


def check_run_id(run_id: str) -> None:
    """Raise `ConfigError` unless it can name a folder on every filesystem."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}", run_id):
        raise ConfigError(
            f"run_id: expected up to 200 letters, digits, '.', '_', '+' and '-', the first a letter or digit; got {run_id!r}.",
            hint="HDFS takes no colon in a name: Airflow's {{ ts_nodash }} has none.",
        )


def check_share(place: str, value: object) -> None:
    """Raise `ConfigError` unless `value` is a number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ConfigError(f"{place}: expected a share from 0 to 1; got {value!r}.")


def pair(place: str, value: Any) -> tuple[int, int]:
    """(height, width) of an int or of a pair."""
    numbers = tuple(value) if isinstance(value, (list, tuple)) else (value, value)
    if len(numbers) != 2:
        raise ConfigError(f"{place}: expected one number or (height, width); got {value!r}.")
    for item in numbers:
        check_positive(place, item)
    return numbers[0], numbers[1]


def number(place: str, value: Any) -> float:
    """A float of a number or of a fraction such as ``1/127.5``, which YAML cannot write otherwise."""
    try:
        if isinstance(value, str):
            numerator, _, denominator = value.partition("/")
            result = float(numerator) / float(denominator or 1)
        else:
            result = float(value)
    except (TypeError, ValueError, OverflowError, ZeroDivisionError):
        result = math.nan
    if isinstance(value, bool) or not math.isfinite(result):
        raise ConfigError(f"{place}: expected a finite number or a fraction such as 1/255; got {value!r}.")
    return result


def per_channel(place: str, value: Any) -> tuple[float, float, float]:
    """Three finite numbers, of one number or of three."""
    numbers = tuple(number(place, item) for item in (value if isinstance(value, (list, tuple)) else [value] * 3))
    if len(numbers) != 3:
        raise ConfigError(f"{place}: expected one number or three, one a channel; got {len(numbers)} numbers.")
    return numbers[0], numbers[1], numbers[2]
