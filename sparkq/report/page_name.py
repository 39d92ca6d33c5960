"""A check of the path that a page is to be written to."""
from __future__ import annotations

from sparkq.errors import ConfigError
from sparkq.storage import shown

__all__ = ["check_name"]


def check_name(path: str) -> None:
    """Raise `ConfigError` unless `path` is that of a page."""
    if not path.lower().endswith((".html", ".htm")):
        raise ConfigError(f"report: expected a FILE.html; got {shown(path)}.")
