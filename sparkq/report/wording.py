"""Figures as people read them, and texts as they may read them."""
from __future__ import annotations

from typing import Any

from sparkq.redaction import shown

__all__ = ["clock", "number", "percent", "without_credentials"]


def number(value: float) -> str:
    """A number for people: three digits of what is small, thousands apart in what is large."""
    return f"{value:,.0f}".replace(",", "\u202f") if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def clock(seconds: float) -> str:
    """A length of time in at most two units."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def percent(share: float) -> str:
    """A share, 0 to 1, for people; never 0 % of something nor 100 % of not all."""
    value = 100 * share
    if 99.95 <= value < 100:
        return "more than 99.9 %"
    return "less than 0.01 %" if 0 < value < 0.01 else f"{value:.2g} %" if value < 10 else f"{value:.1f} %"


def without_credentials(value: Any) -> Any:
    """Redact a value that a template is about to write; markup stays markup."""
    return type(value)(shown(value)) if isinstance(value, str) else value
