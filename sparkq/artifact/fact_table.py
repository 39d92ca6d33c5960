"""A small table for notebooks: it takes the notebook's colours, light or dark, and holds nothing but text."""
from __future__ import annotations

from collections.abc import Sequence
from html import escape

__all__ = ["fact_table"]

# A notebook's theme is not the system's: so ink is inherited, and the two colours can be read on white and on black.
_GOOD, _ALARM = "#3a8f5c", "#d1495b"
_CELL = "padding:.15em 1.2em .15em 0;text-align:left;vertical-align:top;border:0;background:none"


def fact_table(title: str, line: str, facts: Sequence[tuple[str, str]], *, alarm: bool = False, footer: str = "") -> str:
    """HTML of a title, a line below it, and names with values.

    Parameters
    ----------
    title, line, footer : str
        Text; it is escaped, as is all that follows.
    facts : sequence of (str, str)
        Name and value.
    alarm : bool
        Whether there is something to do about it.
    """
    rows = "".join(
        f'<tr style="background:none"><th scope="row" style="{_CELL};font-weight:normal;opacity:.7">{escape(name)}</th>'
        f'<td style="{_CELL};overflow-wrap:anywhere">{escape(value)}</td></tr>' for name, value in facts
    )
    end = f'<div style="opacity:.7;font-size:.9em">{escape(footer)}</div>' if footer else ""
    return (
        f'<div style="border-left:.25em solid {_ALARM if alarm else _GOOD};padding:.1em 0 .1em .9em">'
        f'<div style="font-weight:bold">{escape(title)}</div><div>{escape(line)}</div>'
        f'<table style="border-collapse:collapse;margin:.4em 0;color:inherit;font-size:inherit">{rows}</table>{end}</div>'
    )
