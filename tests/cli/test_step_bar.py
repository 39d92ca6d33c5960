"""The bar of a quantization: in a terminal alone, and gone at the end."""
from __future__ import annotations

import io
import os
import sys

import pytest

from sparkq.cli.step_bar import shown_steps
from sparkq.quantization.steps import counted, is_heard
from tests.terminal import on_a_terminal


def test_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step with its count and the time left; nothing of it stays."""
    with on_a_terminal(monkeypatch) as far:
        with shown_steps():
            assert is_heard()
            list(counted("fitting layers", range(3)))
            list(counted("measuring", range(2)))
        assert not is_heard()
        text = os.read(far, 100_000).decode()
    assert "fitting layers: 100%" in text and "3/3" in text and "measuring" in text and "00:00<" in text
    assert text.split("\r")[-1].strip() == ""


def test_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bar is taken away."""
    with on_a_terminal(monkeypatch) as far:
        with pytest.raises(ValueError), shown_steps():
            for _ in counted("fitting layers", range(3)):
                raise ValueError
        assert os.read(far, 100_000).decode().split("\r")[-1].strip() == ""


def test_where_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    with on_a_terminal(monkeypatch):
        monkeypatch.setenv("AIRFLOW_CTX_DAG_ID", "nightly")
        with shown_steps():
            assert not is_heard()


def test_a_terminal_that_is_closed_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but the bar is lost."""
    far, near = os.openpty()
    # No buffer: what cannot be written would be tried again when the stream is closed.
    stream = io.TextIOWrapper(open(near, "wb", buffering=0), write_through=True)  # type: ignore[arg-type]
    with stream, monkeypatch.context() as patch:
        for name in ("stdout", "stderr"):
            patch.setattr(sys, name, stream)
        patch.delenv("AIRFLOW_CTX_DAG_ID", raising=False)
        with shown_steps():
            assert is_heard()
            os.close(far)
            assert list(counted("fitting layers", range(3))) == [0, 1, 2]
