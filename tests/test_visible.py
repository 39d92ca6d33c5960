"""Nothing that a file or a label is named reaches a terminal as a command to it."""
from __future__ import annotations

import json
import logging
import unicodedata
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkq.cli import main
from sparkq.cli.boundary import run_command
from sparkq.cli.crash_log import write_crash_log
from sparkq.errors import ErrorBudgetError, InputError, SparkqError
from sparkq.visible import VisibleFormatter, visible, visible_json

HOSTILE = "a\x1b[2Jb\x9b31mc\u202egpj.exe\u2066d\x07\r\x08e\udcff\U000e0041\u2028"
SPELLED = r"a\x1b[2Jb\x9b31mc\u202egpj.exe\u2066d\x07\x0d\x08e\udcff\U000e0041\u2028"


def is_obeyed(character: str) -> bool:
    """Whether a terminal may do something else than show it; what joins letters and emoji is part of names."""
    turns = unicodedata.bidirectional(character) in {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    return turns or (unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} and character not in "\n\t")


def test_each_is_spelled_out() -> None:
    assert visible(HOSTILE) == SPELLED
    assert visible("Zürich, 東京, \U0001F469\u200d\U0001F680, نام\u200cها\n\tkeeps") == (
        "Zürich, 東京, \U0001F469\u200d\U0001F680, نام\u200cها\n\tkeeps"
    )


@given(st.text(st.characters(codec=None)))
def test_nothing_is_left_to_obey(text: str) -> None:
    """Of any text; and what has nothing of it stays as it is."""
    shown = visible(text)
    assert not any(map(is_obeyed, shown))
    assert visible(shown) == shown
    shown.encode("utf-8")


@given(st.dictionaries(st.text(st.characters(codec=None)), st.text(st.characters(codec=None))))
def test_a_document_is_the_same_data(values: dict[str, str]) -> None:
    document = visible_json(json.dumps(values, ensure_ascii=False))
    assert not any(map(is_obeyed, document))
    assert json.loads(document) == json.loads(json.dumps(values))


def _printed(capsys: pytest.CaptureFixture[str], outcome: BaseException | dict[str, Any], *, as_json: bool) -> str:
    def command() -> dict[str, Any]:
        warnings.warn(f"a warning of {HOSTILE}", stacklevel=1)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        run_command(command, show=lambda result: f"label {result['label']}", as_json=as_json)
    captured = capsys.readouterr()
    return captured.out + captured.err


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("outcome", [
    {"label": HOSTILE}, InputError(f"input {HOSTILE}: expected images; got none.", hint=f"not {HOSTILE}"),
    ErrorBudgetError("Too many.", result={"label": HOSTILE}), ZeroDivisionError(HOSTILE),
], ids=["result", "error", "budget", "unexpected"])
def test_every_exit_of_a_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, as_json: bool,
    outcome: BaseException | dict[str, Any],
) -> None:
    """Standard output and standard error, text and document, warnings, errors and hints."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    told = _printed(capsys, outcome, as_json=as_json)
    assert not any(map(is_obeyed, told)), told
    assert told.count("gpj.exe") >= 2
    for log in tmp_path.iterdir():
        assert not any(map(is_obeyed, log.read_text(encoding="utf-8")))


def test_the_parser(capsys: pytest.CaptureFixture[str]) -> None:
    """It repeats what it does not know."""
    with pytest.raises(SystemExit):
        main(["predict", f"--{HOSTILE.replace(chr(0xDCFF), '')}"])
    err = capsys.readouterr().err
    assert r"\x1b[2J" in err and not any(map(is_obeyed, err))


def test_a_log_line() -> None:
    """Its message, its arguments and its traceback."""
    try:
        raise ValueError(HOSTILE)
    except ValueError as error:
        record = logging.LogRecord("sparkq", logging.INFO, "f", 1, "path %s", (HOSTILE,), (type(error), error, None))
    line = VisibleFormatter("%(message)s").format(record)
    assert line.startswith(f"path {SPELLED}\n") and not any(map(is_obeyed, line))


def test_what_an_interpreter_prints_of_an_error() -> None:
    """And the crash log, which people print as well."""
    error = SparkqError(f"label {HOSTILE}", hint=HOSTILE)
    assert str(error) == f"label {SPELLED} Hint: {SPELLED}"
    try:
        raise error
    except SparkqError:
        assert not any(map(is_obeyed, Path(write_crash_log()).read_text(encoding="utf-8")))
