"""The one place where errors become exit codes, and the one that writes to standard output.

====  ========================================================================================================
code
====  ========================================================================================================
0     done; also when the run of this id was committed before
1     expected error: one sentence and a hint, nothing half-written
2     wrong use of the command line (argparse)
3     unexpected error: the traceback is in a log file that the message names
4     done and committed, but more images failed than ``--max-error-rate`` allows
75    another attempt of the same run id committed while this one ran: its result stands (``EX_TEMPFAIL``: tried again, 0)
130   interrupted, by Ctrl-C or SIGTERM: the jobs of this command are cancelled, nothing of it is to be seen
====  ========================================================================================================
"""
from __future__ import annotations

import json
import logging
import os
import signal
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn, TextIO

from sparkq.errors import ErrorBudgetError, SparkqError

__all__ = ["EXIT_CODES", "run_command", "stdout_is_terminal"]

EXIT_UNEXPECTED, EXIT_INTERRUPTED = 3, 130
_stdout_was_terminal = False
EXIT_CODES = (
    "exit codes: 0 done, 1 expected error, 2 wrong use, 3 unexpected error, 4 more images failed than --max-error-rate allows "
    "(all is committed), 75 another attempt of the same run id committed meanwhile, 130 interrupted (Ctrl-C or SIGTERM)"
)


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
        Exit code.
    """
    global _stdout_was_terminal
    _stdout_was_terminal = sys.stdout.isatty()
    _part_stderr_from_stdout()
    with _stdout_kept_clean() as stdout, _terminable():
        _log_to_stderr()
        code, result = _guarded(run)
        if as_json:
            print(json.dumps(result, ensure_ascii=False), file=stdout)
        elif "error" not in result or code == ErrorBudgetError.exit_code:
            print(show(result), file=stdout)
        error = failure(result) if code == 0 else None
        if error is not None:
            code = _tell(error)
    return code


def _guarded(run: Callable[[], dict[str, Any]]) -> tuple[int, dict[str, Any]]:
    try:
        return 0, run()
    except SparkqError as error:
        done = error.result if isinstance(error, ErrorBudgetError) else {}
        return _tell(error), {**done, **_failure(type(error).__name__, error.message, error.hint)}
    except KeyboardInterrupt:
        print("sparkq: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED, _failure("Interrupted", "interrupted", None)
    except Exception as error:
        log = _write_log()
        message = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        print(f"sparkq: unexpected error: {message}\nHint: the traceback is in {log}; please report it.", file=sys.stderr)
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


def _write_log() -> str:
    with tempfile.NamedTemporaryFile("w", prefix="sparkq-", suffix=".log", delete=False, encoding="utf-8") as log:
        traceback.print_exc(file=log)
    return log.name


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("py4j").setLevel(logging.ERROR)
    warnings.showwarning = _show_warning


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: TextIO | None = None,
    line: str | None = None,
) -> None:
    print(f"sparkq: warning: {message}", file=file or sys.stderr)


def _part_stderr_from_stdout() -> None:
    """Under spark-submit, give this process the standard error of the JVM that started it.

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
