"""Exit codes, and what goes to which stream."""
from __future__ import annotations

import ast
import json
import os
import re
import signal
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from sparkq import __version__
from sparkq.cli import main
from sparkq.cli.boundary import EXIT_CODES, run_command, stdout_is_terminal
from sparkq.errors import EngineError, ErrorBudgetError, RunTakenError, SparkqError
from tests import ROOT
from tests.cli.conftest import TRACEBACK, Command, Outcome, run_process


def _run(capsys: pytest.CaptureFixture[str], error: BaseException | None, *, as_json: bool = False) -> Outcome:
    def command() -> dict[str, Any]:
        if error is not None:
            raise error
        return {"rows": 3, "name": "naïve"}

    code = run_command(command, show=lambda result: f"{result['rows']} rows", as_json=as_json)
    captured = capsys.readouterr()
    return Outcome(code, captured.out, captured.err)


@pytest.fixture(autouse=True)
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where logs of unexpected errors go."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_success(capsys: pytest.CaptureFixture[str]) -> None:
    """Text for people, or the document alone."""
    assert _run(capsys, None) == Outcome(0, "3 rows\n", "")
    found = _run(capsys, None, as_json=True)
    assert (found.code, found.document, found.err) == (0, {"rows": 3, "name": "naïve"}, "")


@pytest.mark.parametrize("error", [SparkqError("It is so.", hint="do this."), EngineError("It is so.")], ids=["hint", "no_hint"])
def test_expected_error(capsys: pytest.CaptureFixture[str], logs: Path, error: SparkqError) -> None:
    """1: the sentence and its hint on standard error, the same in the document, no log."""
    found = _run(capsys, error)
    hint = "Hint: do this.\n" if error.hint else ""
    assert found == Outcome(1, "", f"sparkq: error: It is so.\n{hint}")
    found = _run(capsys, error, as_json=True)
    expected = {"type": type(error).__name__, "message": "It is so.", "hint": error.hint}
    assert (found.code, found.document) == (1, {"error": expected})
    assert list(logs.iterdir()) == []


@pytest.mark.parametrize("as_json", [False, True])
def test_unexpected_error(capsys: pytest.CaptureFixture[str], logs: Path, as_json: bool) -> None:
    """3: the traceback is in a file that the message names, and not on the terminal."""
    found = _run(capsys, ZeroDivisionError("a bug\nof ours"), as_json=as_json)
    assert found.code == 3
    [log] = logs.iterdir()
    assert str(log) in found.err
    assert "ZeroDivisionError: a bug of ours" in found.err
    assert TRACEBACK not in found.err and TRACEBACK not in found.out
    assert TRACEBACK in log.read_text() and "ZeroDivisionError: a bug" in log.read_text()
    assert f"sparkq:   {__version__}\n" in log.read_text()
    if as_json:
        assert found.document["error"]["type"] == "UnexpectedError" and str(log) in found.document["error"]["hint"]
    else:
        assert found.out == ""


@pytest.mark.parametrize("as_json", [False, True])
def test_interrupt(capsys: pytest.CaptureFixture[str], as_json: bool) -> None:
    """130, and a word."""
    found = _run(capsys, KeyboardInterrupt(), as_json=as_json)
    assert (found.code, found.err) == (130, "sparkq: interrupted\n")
    assert found.out == "" if not as_json else found.document["error"]["type"] == "Interrupted"


def test_sigterm(capsys: pytest.CaptureFixture[str]) -> None:
    """As Ctrl-C; whoever calls the command has its own handler again afterwards."""
    def command() -> dict[str, Any]:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
        return {}

    before = signal.getsignal(signal.SIGTERM)
    assert run_command(command, show=str, as_json=False) == 130
    assert capsys.readouterr().err == "sparkq: interrupted\n"
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("as_json", [False, True])
def test_over_budget(capsys: pytest.CaptureFixture[str], as_json: bool) -> None:
    """4: what was done, on standard output, and that it is not enough."""
    error = ErrorBudgetError("Too many failed.", hint="look.", result={"rows": 3})
    found = _run(capsys, error, as_json=as_json)
    assert (found.code, found.err) == (4, "sparkq: error: Too many failed.\nHint: look.\n")
    if as_json:
        assert found.document["rows"] == 3 and found.document["error"]["type"] == "ErrorBudgetError"
    else:
        assert found.out == "3 rows\n"


def test_taken(capsys: pytest.CaptureFixture[str]) -> None:
    """75: another attempt of the same run id has done the work."""
    assert _run(capsys, RunTakenError("It is taken.")) == Outcome(75, "", "sparkq: error: It is taken.\n")


def test_exit_codes_are_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    """Of the command and of its subcommands."""
    for arguments in (["--help"], ["predict", "--help"]):
        with pytest.raises(SystemExit):
            main(arguments)
        told = " ".join(capsys.readouterr().out.split())
        for code in (
            "0 done", "1 expected", "2 wrong use", "3 unexpected", "4 all is committed", "75 another attempt", "130 interrupted",
        ):
            assert code in told


def test_the_readme_lists_these_exit_codes() -> None:
    """No code more, none less."""
    table = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## Exit codes\n")[2].partition("\n## ")[0]
    assert re.findall(r"^\| (\d+) \|", table, re.MULTILINE) == re.findall(r"^  (\d+) ", EXIT_CODES, re.MULTILINE)


def test_75_is_a_success_wherever_it_is_told() -> None:
    """The README, the help, and Airflow's DAG, which has no sparkq to take the number from."""
    code, told = RunTakenError.exit_code, "another attempt of the same run id has committed it"
    for text in ((ROOT / "README.md").read_text(encoding="utf-8"), EXIT_CODES):
        assert re.search(rf"^\W*{code}\W+{told}: the work is done,.* success", text, re.MULTILINE)
    dag = ast.parse((ROOT / "jobs" / "airflow" / "predict_images_dag.py").read_text(encoding="utf-8"))
    (committed,) = (
        ast.literal_eval(node.value) for node in dag.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "COMMITTED"
    )
    assert set(committed) == {code, ErrorBudgetError.exit_code}
    assert committed[code] == f"{told}: the work is done"


@pytest.mark.parametrize(
    "arguments",
    [[], ["conquer"], ["predict", "--modle", "m"], ["predict", "--mod", "m"], ["inspect", "--model"], ["inspect", "m.sparkq"]],
    ids=["no_command", "unknown_command", "unknown_option", "abbreviated_option", "missing_value", "positional"],
)
def test_wrong_use(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """2, as argparse does: usage on standard error."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    captured = capsys.readouterr()
    assert caught.value.code == 2
    assert "usage: sparkq" in captured.err and captured.out == ""


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """The package's."""
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert (caught.value.code, capsys.readouterr().out) == (0, f"sparkq {__version__}\n")


def test_unknown_key_ends_with_one(sparkq: Command, tmp_path: Path) -> None:
    """A wrong key of a file is no wrong use of the command line: 1, and the valid keys."""
    config = tmp_path / "c.yaml"
    config.write_text("modle: m.sparkq\n")
    sparkq("inspect", "--config", config).assert_refused("c.yaml", "'modle'", "valid keys: model")
    found = sparkq("inspect", "--config", config, "--json")
    assert found.code == 1
    assert found.document["error"]["type"] == "ConfigError"


@pytest.mark.parametrize("fails", [False, True], ids=["success", "failure"])
def test_nothing_else_reaches_standard_output(tmp_path: Path, environment: dict[str, str], fails: bool) -> None:
    """Not from print, not from C code, not from a child process, not from logging or warnings."""
    script = tmp_path / "noisy.py"
    script.write_text(textwrap.dedent(f"""
        import logging, os, subprocess, sys, warnings
        from sparkq.cli.boundary import run_command
        from sparkq.errors import InputError

        def command():
            print("from print")
            os.write(1, b"from a descriptor\\n")
            subprocess.run(["echo", "from a child"], check=True)
            logging.getLogger("anything").warning("from logging")
            warnings.warn("from warnings")
            sys.stdout.write("without a newline")
            if {fails}:
                raise InputError("It is so.")
            return {{"rows": 3}}

        print("before")
        code = run_command(command, show=str, as_json=True)
        print("after")
        sys.exit(code)
    """))
    found = run_process([sys.executable, str(script)], environment, tmp_path)
    assert found.code == int(fails)
    before, document, after = found.out.splitlines()
    assert (before, after) == ("before", "after")
    error = {"type": "InputError", "message": "It is so.", "hint": None}
    assert json.loads(document) == ({"error": error} if fails else {"rows": 3})
    for source in ("print", "a descriptor", "a child", "logging", "warnings"):
        assert f"from {source}" in found.err
    assert "without a newline" in found.err


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_command_knows_whether_its_result_goes_to_a_terminal(monkeypatch: pytest.MonkeyPatch, is_terminal: bool) -> None:
    """Although standard output is sent elsewhere meanwhile: a progress bar is for those who look."""
    far, near = os.openpty() if is_terminal else os.pipe()
    seen: list[bool] = []

    def command() -> dict[str, Any]:
        seen.append(stdout_is_terminal())
        return {}

    with open(near, "w", encoding="utf-8") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        assert run_command(command, show=lambda result: "", as_json=False) == 0
    os.close(far)
    assert seen == [is_terminal]


@pytest.mark.parametrize(("is_kept", "sink", "code"), [
    (False, "full", 1), (True, "full", 0), (False, "closed", 0), (True, "closed", 0), (False, "gone", 0), (True, "gone", 0),
])
def test_a_result_that_cannot_be_printed(
    tmp_path: Path, environment: dict[str, str], is_kept: bool, sink: str, code: int,
) -> None:
    """A full disk is told, a reader that has gone is not; no traceback, not even of Python's own end."""
    script = tmp_path / "result.py"
    script.write_text(textwrap.dedent(f"""
        import sys
        from sparkq.cli.boundary import run_command

        print("kept in the buffer")
        sys.exit(run_command(lambda: {{"rows": 3}}, show=str, as_json=True, is_kept={is_kept}))
    """).replace('print("kept in the buffer")\n', ""))
    where = {"full": ">/dev/full", "closed": ">&-", "gone": "| true"}[sink]
    pipeline = f'set -o pipefail; "{sys.executable}" "{script}" {where}'
    found = run_process(["bash", "-c", pipeline], environment, tmp_path)
    assert (found.code, TRACEBACK in found.err) == (code, False), found.err
    assert ("standard output: expected to take the result" in found.err) == (sink == "full")
    assert "Exception ignored" not in found.err and "BrokenPipe" not in found.err


def test_nobody_reads_standard_error(tmp_path: Path, environment: dict[str, str]) -> None:
    """A warning, a log line and an error that cannot be told end nothing."""
    script = tmp_path / "mute.py"
    script.write_text(textwrap.dedent("""
        import logging, sys, warnings
        from sparkq.cli.boundary import run_command
        from sparkq.errors import InputError

        def command():
            warnings.warn("from warnings")
            logging.getLogger("sparkq").warning("from logging")
            open(sys.argv[1], "w").close()
            raise InputError("It is so.")

        sys.exit(run_command(command, show=str, as_json=False))
    """))
    for where in ("2>/dev/full", "2>&-", "2> >(true)"):
        reached = tmp_path / "reached"
        found = run_process(["bash", "-c", f'"{sys.executable}" "{script}" "{reached}" {where}'], environment, tmp_path)
        assert (found.code, found.out) == (1, "") and reached.exists()
        reached.unlink()


def test_what_follows_from_an_interrupt_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    """The same signal may have ended the JVM, so that cleaning up fails."""
    def command() -> dict[str, Any]:
        try:
            raise KeyboardInterrupt
        finally:
            raise ConnectionRefusedError("no JVM any more")

    assert run_command(command, show=str, as_json=False) == 130
    assert capsys.readouterr().err == "sparkq: interrupted\n"
