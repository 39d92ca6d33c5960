"""What a report needs is asked for before long work starts."""
from __future__ import annotations

import sys

import pytest

from sparkq.errors import ConfigError
from sparkq.report.quantization.extra import check_report


def test_can_be_written() -> None:
    for path in ("report.html", "s3://bucket/REPORT.HTML", "x.htm"):
        check_report(path)


def test_not_a_page() -> None:
    """An artifact's name, mistaken for the report's, would be overwritten."""
    with pytest.raises(ConfigError, match=r"expected a FILE.html; got model.sparkq"):
        check_report("model.sparkq")


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python itself takes None for a module that cannot be imported."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match="matplotlib") as caught:
        check_report("report.html")
    assert caught.value.hint == "pip install 'sparkq[report]'."
