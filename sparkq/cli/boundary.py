"""The one place where errors become exit codes, and the one that writes to standard output.

`EXIT_CODES` says what each code means. Only the numbers that an error class brings along are spelled with that class.
"""
from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn, TextIO

from sparkq.cli.crash_log import write_crash_log
from sparkq.errors import ErrorBudgetError, RunTakenError, SparkqError, one_line
from sparkq.redaction import shown, shown_values

__all__ = ["EXIT_CODES", "run_command", "stdout_is_terminal"]

EXIT_DONE, EXIT_WRONG_USE, EXIT_UNEXPECTED, EXIT_INTERRUPTED = 0, 2, 3, 130
"""2 is argparse's own."""
_stdout_was_terminal = False
_MEANINGS = {
    EXIT_DONE: "done, or this run was committed before",
    SparkqError.exit_code: "expected error: one sentence and a hint; nothing is half-written",
    EXIT_WRONG_USE: "wrong use of the command line",
    EXIT_UNEXPECTED: "unexpected error: its traceback is in a log that the message names",
    ErrorBudgetError.exit_code: "all is committed, but more images failed than --max-error-rate allows",
    RunTakenError.exit_code: "another attempt of the same run id has committed it: the work is done, treat it as success",
    EXIT_INTERRUPTED: "interrupted (Ctrl-C or SIGTERM): nothing of the run is there",
}
EXIT_CODES = "\n".join(["exit codes:", *(f"  {code:<5}{meaning}" for code, meaning in _MEANINGS.items())])


def run_command(
    run: Callable[[], dict[str, Any]], *, show: Callable[[dict[str, Any]], str], as_json: bool,
    failure: Callable[[dict[str, Any]], SparkqError | None] = lambda result: None,
) -> int:
    """Run a command and print its result.

    While it runs, whatever writes to standard output (the user's model code, Java) is sent to standard error, so that
    standard output holds the result alone: with `as_json` exactly one JSON document, also when the command fails. A result
    of which `failure` says what is wrong is printed as well.

    Returns
    -------
    int
        Exit code, one of `EXIT_CODES`.
    """
    global _stdout_was_terminal
    _stdout_was_terminal = sys.stdout.isatty()
    _part_stderr_from_stdout()
    with _stdout_kept_clean() as stdout, _terminable():
        _log_to_stderr()
        code, result = _guarded(run)
        if as_json:
            print(json.dumps(shown_values(result), ensure_ascii=False), file=stdout)
        elif "error" not in result or code == ErrorBudgetError.exit_code:
            print(shown(show(result)), file=stdout)
        error = failure(result) if code == EXIT_DONE else None
        if error is not None:
            code = _tell(error)
    return code


def _guarded(run: Callable[[], dict[str, Any]]) -> tuple[int, dict[str, Any]]:
    try:
        return EXIT_DONE, run()
    except SparkqError as error:
        done = error.result if isinstance(error, ErrorBudgetError) else {}
        return _tell(error), {**done, **_failure(type(error).__name__, error.message, error.hint)}
    except KeyboardInterrupt:
        print("sparkq: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED, _failure("Interrupted", "interrupted", None)
    except Exception as error:
        log, message = write_crash_log(), one_line(error)
        hint = f"the traceback, with versions and platform, is in {log}; please report it."
        print(f"sparkq: unexpected error: {message}\nHint: {hint}", file=sys.stderr)
        return EXIT_UNEXPECTED, _failure("UnexpectedError", message, f"traceback in {log}")


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM, by which schedulers and containers end a process, does what Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _tell(error: SparkqError) -> int:
    print(f"sparkq: error: {error.message}", file=sys.stderr)
    if error.hint:
        print(f"Hint: {error.hint}", file=sys.stderr)
    return error.exit_code


def _failure(kind: str, message: str, hint: str | None) -> dict[str, Any]:
    return {"error": {"type": kind, "message": message, "hint": hint}}


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_ShownFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("py4j").setLevel(logging.ERROR)
    warnings.showwarning = _show_warning


class _ShownFormatter(logging.Formatter):
    """Other packages log what they were given, and tracebacks."""

    def format(self, record: logging.LogRecord) -> str:
        return shown(super().format(record))


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: TextIO | None = None,
    line: str | None = None,
) -> None:
    print(f"sparkq: warning: {shown(str(message))}", file=file or sys.stderr)


def _part_stderr_from_stdout() -> None:
    """Give this process, under spark-submit, the standard error of the JVM that started it.

    Spark starts Python with both outputs in one pipe and prints what comes through on its own standard output, so that
    a log line of ours would stand beside the JSON document. Where the JVM's own cannot be opened (not Linux, a socket),
    only warnings and errors are logged.
    """
    if "PYSPARK_GATEWAY_PORT" not in os.environ:
        return
    try:
        descriptor = os.open(f"/proc/{os.getppid()}/fd/2", os.O_WRONLY | os.O_APPEND)
    except OSError:
        logging.getLogger("sparkq").setLevel(logging.WARNING)
        return
    os.dup2(descriptor, sys.stderr.fileno())
    os.close(descriptor)


def stdout_is_terminal() -> bool:
    """Whether standard output was a terminal when the command began; while it runs, it is sent to standard error."""
    return _stdout_was_terminal


@contextmanager
def _stdout_kept_clean() -> Iterator[TextIO]:
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
    try:
        with open(kept, "w", encoding=sys.stdout.encoding or "utf-8", closefd=False) as stdout:
            yield stdout
    finally:
        sys.stdout.flush()
        os.dup2(kept, descriptor)
        os.close(kept)
