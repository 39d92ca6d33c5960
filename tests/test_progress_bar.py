"""Progress bars: who looks at one."""
from __future__ import annotations

import os
import sys

import pytest

from sparkq.progress_bar import is_watched
from tests.terminal import on_a_terminal


def test_who_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal, unless Spark has a bar in it, or Airflow runs the job, or one of the two outputs goes to a file."""
    with on_a_terminal(monkeypatch):
        seen = [is_watched(spark_shows=False), is_watched(spark_shows=True)]
        with monkeypatch.context() as patch:
            patch.setenv("AIRFLOW_CTX_DAG_ID", "daily")
            seen.append(is_watched(spark_shows=False))
        for name in ("stdout", "stderr"):
            with open(os.devnull, "w", encoding="utf-8") as stream, monkeypatch.context() as patch:
                patch.setattr(sys, name, stream)
                seen.append(is_watched(spark_shows=False))
    assert seen == [True, False, False, False, False]
