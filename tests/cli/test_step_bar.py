"""The bar of a quantization: in a terminal alone, and gone at the end."""
from __future__ import annotations

import fcntl
import os
import struct
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sparkq.cli.step_bar import shown_steps
from sparkq.quantization.steps import counted, is_heard


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The far end of a terminal that standard error is, within a test: pytest changes the streams between its phases."""
    far, near = os.openpty()
    # Thirty rows of a hundred columns: in none there is no room for a bar.
    fcntl.ioctl(near, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    os.set_blocking(far, False)
    with open(near, "w", encoding="utf-8") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        patch.delenv("AIRFLOW_CTX_DAG_ID", raising=False)
        yield far
    os.close(far)


def test_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step with its count and the time left; nothing of it stays."""
    with terminal(monkeypatch) as far:
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
    with terminal(monkeypatch) as far:
        with pytest.raises(ValueError), shown_steps():
            for _ in counted("fitting layers", range(3)):
                raise ValueError
        assert os.read(far, 100_000).decode().split("\r")[-1].strip() == ""


def test_where_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under Airflow, and where standard error is no terminal, or gone."""
    with terminal(monkeypatch):
        monkeypatch.setenv("AIRFLOW_CTX_DAG_ID", "nightly")
        with shown_steps():
            assert not is_heard()
        monkeypatch.delenv("AIRFLOW_CTX_DAG_ID")
        with open(os.devnull, "w", encoding="utf-8") as nothing:
            for stream in (nothing, None):
                monkeypatch.setattr(sys, "stderr", stream)
                with shown_steps():
                    assert not is_heard()
