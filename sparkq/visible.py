"""Show what a terminal would obey: control characters, ANSI escapes and bidirectional overrides of names and labels.

Whoever names a file or a label could otherwise clear the screen, colour a verdict, or have a name read backwards.
"""
from __future__ import annotations

import logging
import re

from sparkq.redaction import shown

__all__ = ["VisibleFormatter", "visible", "visible_json"]

# Controls but tab and newline (C0, DEL, C1), what turns the direction of text (UAX #9), line separators that are no newline, the
# mark of byte order, tags, and the halves of surrogate pairs, by which Python spells names that are not UTF-8.
_OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff\U000e0000-\U000e007f]",
)


def visible(text: str) -> str:
    r"""Return a text whose control characters are spelled out, as ``\x1b`` and ``\u202e``; newlines and tabs stay."""
    return _OBEYED.sub(lambda found: _spelled(ord(found[0])), text)


def _spelled(code: int) -> str:
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def visible_json(document: str) -> str:
    r"""Return the same JSON document with such characters as JSON's own escapes (``\u001b``): what is parsed stays the same."""
    return _OBEYED.sub(lambda found: "".join(f"\\u{unit:04x}" for unit in _utf16_units(found[0])), document)


def _utf16_units(character: str) -> list[int]:
    code = ord(character)
    return [code] if code < 0x10000 else [0xD800 + (code - 0x10000 >> 10), 0xDC00 + (code - 0x10000 & 0x3FF)]


class VisibleFormatter(logging.Formatter):
    """Formats log records as `logging.Formatter` does, without credentials and with control characters spelled out.

    Other packages log what they were given, and tracebacks.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        return visible(shown(super().format(record)))
