"""A terminal for tests: the standard streams of what runs within are its near end."""
from __future__ import annotations

import fcntl
import os
import struct
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

__all__ = ["on_a_terminal"]


@contextmanager
def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Standard output and standard error are one; gives its far end, of which reading never waits.

    In a test, not a fixture: pytest sets its own streams between the two.
    """
    far, near = os.openpty()
    # Thirty rows of a hundred columns: in none there is no room for a bar.
    fcntl.ioctl(near, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    os.set_blocking(far, False)
    with open(near, "w", encoding="utf-8") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        patch.setattr(sys, "stderr", stream)
        patch.delenv("AIRFLOW_CTX_DAG_ID", raising=False)
        yield far
    os.close(far)
