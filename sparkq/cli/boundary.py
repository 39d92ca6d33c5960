"""The one place where errors become exit codes, and the one that writes to standard output.

`EXIT_CODES` says what each code means. Only the numbers that an error class brings along are spelled with that class.
"""
from __future__ import annotations

import errno
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
from typing import Any, TextIO

from sparkq.cli.crash_log import write_crash_log
from sparkq.cli.streams import open_standard_streams, part_stderr_from_stdout, say, stdout_kept_clean
from sparkq.errors import ErrorBudgetError, RunTakenError, SparkqError, one_line
from sparkq.redaction import shown, shown_values
from sparkq.visible import VisibleFormatter, visible, visible_json

__all__ = ["EXIT_CODES", "run_command", "stdout_is_terminal"]

EXIT_DONE, EXIT_WRONG_USE, EXIT_UNEXPECTED, EXIT_INTERRUPTED = 0, 2, 3, 130
"""2 is argparse's own."""
_stdout_was_terminal = False
_terminated = threading.Event()
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
    failure: Callable[[dict[str, Any]], SparkqError | None] = lambda result: None, is_kept: bool = False,
) -> int:
    """Run a command and print its result.

    While it runs, whatever writes to standard output (the user's model code, Java) is sent to standard error, so that
    standard output holds the result alone: with `as_json` exactly one JSON document, also when the command fails. A result
    of which `failure` says what is wrong is printed as well. Where standard output cannot take a result, standard error says so:
    that is a failure unless what was done is kept elsewhere (`is_kept`). A reader that has gone (``| head``) is none.

    Returns
    -------
    int
        Exit code, one of `EXIT_CODES`.
    """
    global _stdout_was_terminal
    open_standard_streams()
    _stdout_was_terminal = sys.stdout.isatty()
    parted = part_stderr_from_stdout()
    with stdout_kept_clean() as stdout, _terminable():
        _log_to_stderr()
        if not parted:
            logging.getLogger("sparkq").setLevel(logging.WARNING)
        code, result = _guarded(run)
        if as_json:
            printed = _printed(visible_json(json.dumps(shown_values(result), ensure_ascii=False)), stdout)
        else:
            printed = ("error" in result and code != ErrorBudgetError.exit_code) or _printed(visible(shown(show(result))), stdout)
        error = failure(result) if code == EXIT_DONE else None
        if error is not None:
            code = _tell(error)
    return code if printed or is_kept else code or SparkqError.exit_code


def _printed(text: str, stdout: TextIO) -> bool:
    """Print a result; whether nobody misses it."""
    try:
        print(text, file=stdout, flush=True)
    except OSError as error:
        if error.errno != errno.EPIPE:
            say(f"sparkq: warning: standard output: expected to take the result; got {error.strerror}.")
            return False
    return True


def _guarded(run: Callable[[], dict[str, Any]]) -> tuple[int, dict[str, Any]]:
    try:
        return EXIT_DONE, run()
    except SparkqError as error:
        if _was_interrupted(error):
            return _interrupted()
        done = error.result if isinstance(error, ErrorBudgetError) else {}
        return _tell(error), {**done, **_failure(type(error).__name__, error.message, error.hint)}
    except KeyboardInterrupt:
        return _interrupted()
    except Exception as error:
        if _was_interrupted(error):
            return _interrupted()
        log, message = write_crash_log(), one_line(error)
        hint = f"the traceback, with versions and platform, is in {log}; please report it."
        say(f"sparkq: unexpected error: {message}\nHint: {hint}")
        return EXIT_UNEXPECTED, _failure("UnexpectedError", message, f"traceback in {log}")


def _interrupted() -> tuple[int, dict[str, Any]]:
    say("sparkq: interrupted")
    return EXIT_INTERRUPTED, _failure("Interrupted", "interrupted", None)


def _was_interrupted(error: BaseException | None) -> bool:
    """Whether an error only followed from an interrupt: a signal to the process group reaches the JVM as well."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, KeyboardInterrupt):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return _terminated.is_set()


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM, by which schedulers and containers end a process, does what Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _terminated.clear()
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        _terminated.clear()


def _interrupt(number: int, frame: FrameType | None) -> None:
    # `timeout` sends it twice, to the process and to its group: once is enough, or it would end the cleaning up.
    if not _terminated.is_set():
        _terminated.set()
        raise KeyboardInterrupt


def _tell(error: SparkqError) -> int:
    say(f"sparkq: error: {error.message}")
    if error.hint:
        say(f"Hint: {error.hint}")
    return error.exit_code


def _failure(kind: str, message: str, hint: str | None) -> dict[str, Any]:
    return {"error": {"type": kind, "message": message, "hint": hint}}


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(VisibleFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("py4j").setLevel(logging.ERROR)
    for each in logging.getLogger().handlers:
        each.addFilter(_is_no_echo)
    logging.raiseExceptions = False
    warnings.showwarning = _show_warning


def _is_no_echo(record: logging.LogRecord) -> bool:
    # What py4j logs it raises as well: of a JVM that has died it tells in tracebacks, by the root logger.
    return f"{os.sep}py4j{os.sep}" not in record.pathname


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: TextIO | None = None,
    line: str | None = None,
) -> None:
    say(f"sparkq: warning: {message}")


def stdout_is_terminal() -> bool:
    """Whether standard output was a terminal when the command began; while it runs, it is sent to standard error."""
    return _stdout_was_terminal
