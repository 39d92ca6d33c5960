"""The standard streams of a command: standard output holds its result alone, and a stream that is gone ends nothing."""
from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from sparkq.redaction import shown
from sparkq.visible import visible

__all__ = ["open_standard_streams", "part_stderr_from_stdout", "say", "stdout_kept_clean"]


def say(text: str) -> None:
    """Print a line on standard error without credentials, control characters spelled out; where nobody can read it, go on."""
    with contextlib.suppress(OSError, ValueError):
        print(visible(shown(text)), file=sys.stderr, flush=True)


def open_standard_streams() -> None:
    """Give a process that was started without standard streams empty ones: the next file that it opens would take their place."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest that is free is taken: this one.
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)


def part_stderr_from_stdout() -> bool:
    """Give this process, under spark-submit, the standard error of the JVM that started it; False where that fails.

    Spark starts Python with both outputs in one pipe and prints what comes through on its own standard output, so that
    a log line of ours would stand beside the JSON document. The JVM's own cannot be opened where it is a socket, or not on Linux.
    """
    if "PYSPARK_GATEWAY_PORT" not in os.environ:
        return True
    try:
        descriptor = os.open(f"/proc/{os.getppid()}/fd/2", os.O_WRONLY | os.O_APPEND)
    except OSError:
        return False
    os.dup2(descriptor, sys.stderr.fileno())
    os.close(descriptor)
    return True


@contextmanager
def stdout_kept_clean() -> Iterator[TextIO]:
    """Send whatever is written to standard output to standard error, and give the real one. What it cannot take is an OSError."""
    # By file descriptor: the JVM is a child that inherits it, and C++ code writes to it, too.
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError, AttributeError):
        # A notebook's or a test's standard output is an object without one.
        yield sys.stdout
        return
    sys.stdout.flush()
    kept = os.dup(descriptor)
    os.dup2(sys.stderr.fileno(), descriptor)
    stdout = open(kept, "w", encoding=sys.stdout.encoding or "utf-8", closefd=False)
    try:
        yield stdout
    finally:
        with contextlib.suppress(OSError, ValueError):
            stdout.close()
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        os.dup2(kept, descriptor)
        os.close(kept)
