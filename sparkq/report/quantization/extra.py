"""A check, before long work starts, that the packages and the path that a report needs are there."""
from __future__ import annotations

import importlib

from sparkq.errors import ConfigError
from sparkq.report.page_name import check_name
from sparkq.storage import shown

__all__ = ["check_report"]


def check_report(path: str) -> None:
    """Whether a report can be made and `path` looks like one.

    Raises
    ------
    ConfigError
        If not.
    """
    check_name(path)
    try:
        importlib.import_module("matplotlib")
    except ImportError as error:
        raise ConfigError(
            f"report {shown(path)}: expected the package matplotlib; got {error}.", hint="pip install 'sparkq[report]'.",
        ) from error
