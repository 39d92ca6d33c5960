"""Credentials in uris leave the program by none of its exits."""
from __future__ import annotations

import dataclasses
import json
import logging
import pickle
import re
import string
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sparkq
from sparkq.cli.boundary import run_command
from sparkq.cli.main import main
from sparkq.error_codes import ErrorCode
from sparkq.errors import ConfigError, ErrorBudgetError, ImageError, InputError, SparkqError, last_line, one_line
from sparkq.redaction import carries_credentials, get_logger, shown, shown_values
from sparkq.runs.committed import find_run
from sparkq.runs.manifest import RunManifest
from sparkq.storage import read_file, resolve_uri, write_file

pytestmark = pytest.mark.smoke
KEY = "AKIDEXAMPLE"
SECRETS = {
    "plain": "wJalrXUtnFEMIbPxRfiCY", "slash": "wJalrXUt/nFEMI+bPxRf/iCY", "percent": "wJalrXUt%2FnFEMIbPxRfiCY",
    "at": "wJalrXUt@nFEMI/bPxRf@iCY", "colon": "wJalrXUt:nFEMI:/iCY", "digits_first": "12345/wJalrXUt/nFEMIiCY",
    "slash_first": "/wJalrXUt//nFEMI+iCY", "marks": "wJalrXUt?x=1&y#nFEMI,'\"iCY",
}
PARTS = re.compile(r"AKIDEXAMPLE|wJalr|nFEMI|iCY")
secrets = pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS.keys())
schemes = st.sampled_from(["s3", "s3a", "s3n", "S3A", "gs", "abfss", "wasbs"])
characters = string.ascii_letters + string.digits + "/+@:%=&?#,;'\"!$()*~|<>[]{}\\^`._-"


def uri_of(secret: str, path: str = "photos") -> str:
    """A uri with credentials."""
    return f"s3a://{KEY}:{secret}@bucket/{path}"


def leaks(text: str) -> list[str]:
    """What of the credentials is in a text."""
    return PARTS.findall(text)


@given(
    scheme=schemes, secret=st.text(characters, min_size=1, max_size=60), before=st.sampled_from(["", "'", "input ", "x=s3://b,"]),
)
def test_no_secret_is_shown(scheme: str, secret: str, before: str) -> None:
    """Whatever is in it; what stands around the uri stays."""
    text = f"{before}{scheme}://{KEY}:{secret}@bucket/photos: expected a folder; got none."
    assert shown(text) == f"{before}{scheme}://***@bucket/photos: expected a folder; got none."
    assert shown(shown(text)) == shown(text)


@given(secret=st.text(string.ascii_letters + string.digits + "/+", min_size=1, max_size=60).filter(lambda s: s[:2] != "//"))
def test_a_uri_that_was_cut_off(secret: str) -> None:
    """Other libraries cut their messages; a bucket has no colon."""
    assert shown(f"cannot open s3a://{KEY}:{secret}") == "cannot open s3a://***"


@given(st.text(max_size=200))
def test_any_text_can_be_shown(text: str) -> None:
    """And what has no uri stays as it is."""
    assert shown(text) == text or ":/" in text


@pytest.mark.parametrize("text", [
    "s3://bucket/a@b/x", "s3a://bucket: expected a folder", "s3://bucket/12:30@x.png", "hdfs://nn:8020/a@b", "file:///a:b@c",
    "file:/a:b@c", "/home/a:b@c", "s3a://one,s3a://two/x@y", "http://127.0.0.1:8080/a@b", "mail a@b",
])
def test_what_has_no_credentials_stays(text: str) -> None:
    """Paths with a colon or an at sign, and ports."""
    assert shown(text) == text
    assert not carries_credentials(text.partition(": ")[0])


def test_long_texts_take_no_time() -> None:
    """Pictures in pages are megabytes of letters."""
    assert shown("a" * 3_000_000 + " s3://k:s@b " + "+." * 1_000_000).count("***") == 1


@secrets
@pytest.mark.parametrize("kind", [ConfigError, InputError, ErrorBudgetError])
def test_errors(kind: type[SparkqError], secret: str) -> None:
    """By all that can be asked of them, also on the other side of a process border."""
    error: SparkqError = pickle.loads(pickle.dumps(kind(f"input {uri_of(secret)}: gone.", hint=f"ls {uri_of(secret)}")))
    assert leaks(f"{error} {error!r} {error.message} {error.hint} {error.args}") == []
    assert "s3a://***@bucket/photos" in error.message
    foreign = OSError(f"{'x' * 280} {uri_of(secret)}")
    image = ImageError(ErrorCode.READ_FAILED, f"got {uri_of(secret)}")
    assert leaks(f"{one_line(foreign)} {last_line(foreign)} {image} {image.message}") == []


@pytest.mark.parametrize("secret", [SECRETS[name] for name in ("slash", "digits_first", "slash_first", "marks")])
@pytest.mark.parametrize("act", [
    lambda uri: read_file(uri, what="artifact"), lambda uri: write_file(uri, b"", what="artifact"), find_run, resolve_uri,
    lambda uri: sparkq.ModelArtifact.load(uri),
], ids=["read_file", "write_file", "find_run", "resolve_uri", "load"])
def test_exceptions_of_the_python_api(secret: str, act: Callable[[str], object]) -> None:
    """A notebook prints the causes, too: where pyarrow's names the uri, a redacted one stands in its place."""
    with pytest.raises(SparkqError) as caught:
        act(uri_of(secret))
    text = "".join(traceback.format_exception(caught.value))
    assert "s3a://***" in text
    assert [line for line in text.splitlines() if leaks(line)] == []


def result_of(secret: str) -> dict[str, Any]:
    """A command's result."""
    return {"output": uri_of(secret), "nested": [{"uri": uri_of(secret)}], "count": 1}


def raising(error: BaseException) -> Callable[[], dict[str, Any]]:
    """Make a command that fails."""
    def run() -> dict[str, Any]:
        raise error

    return run


def talking(secret: str) -> Callable[[], dict[str, Any]]:
    """Make a command that logs and warns, by loggers and errors of ours and of others."""
    def run() -> dict[str, Any]:
        uri = uri_of(secret)
        get_logger("sparkq.test").warning("ours %s", uri)
        logging.getLogger("theirs").warning("theirs %s", uri)
        try:
            raise ValueError(uri)
        except ValueError:
            logging.getLogger("theirs").exception("failed")
        warnings.warn(f"warned {uri}", stacklevel=1)
        return result_of(secret)

    return run


@secrets
@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_what_a_command_prints(
    secret: str, as_json: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Result, log lines, tracebacks in them, warnings, and errors with the log file of an unexpected one."""
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    budget = ErrorBudgetError("run x: too many.", result=result_of(secret))
    runs = [talking(secret), raising(InputError(uri_of(secret))), raising(OSError(f"no {uri_of(secret)}")), raising(budget)]
    for run in runs:
        # As in a process that has just started.
        monkeypatch.setattr(logging.root, "handlers", [])
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            run_command(run, show=json.dumps, as_json=as_json)
        out, err = capsys.readouterr()
        logs = [Path(path).read_text(encoding="utf-8") for path in re.findall(r"\S+/sparkq-\w+\.log", err)]
        text = "\n".join([out, err, *logs])
        assert leaks(text) == []
        assert "s3a://***@bucket/photos" in text
        if run is runs[0]:
            assert all(part in err for part in ("ours s3a", "theirs s3a", "ValueError: s3a", "sparkq: warning: warned s3a"))
        if run is runs[2]:
            assert len(logs) == 1 and "OSError: no s3a://***@" in logs[0]
            Path(re.findall(r"\S+/sparkq-\w+\.log", err)[0]).unlink()
        if as_json:
            json.loads(out)


@secrets
def test_wrong_use_of_the_command_line(secret: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The parser repeats what it does not know, of whichever command."""
    for arguments in (["predict", "--input", "x", uri_of(secret)], ["inspect", "--modle", uri_of(secret)], [uri_of(secret)]):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2
        assert leaks(capsys.readouterr().err) == []


@secrets
def test_log_lines_of_the_python_api(secret: str, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the application's own handlers do with them."""
    get_logger("sparkq.test").warning("%s and %s", uri_of(secret), 1)
    assert leaks(" ".join(f"{record.msg} {record.args} {record.getMessage()}" for record in caplog.records)) == []
    assert "s3a://***@bucket/photos and 1" in caplog.text


def test_every_logger_is_a_redacting_one() -> None:
    """None goes around it. The DAG logs by Airflow's, which redacts by its own."""
    package = Path(sparkq.__file__).parent
    pattern = r"logging\.(getLogger\(\w|info\(|warning\(|error\()"
    around = [path.relative_to(package) for path in package.rglob("*.py") if re.search(pattern, path.read_text(encoding="utf-8"))]
    assert around == [Path("redaction.py")]


@secrets
def test_run_manifests(secret: str) -> None:
    """Whatever describes the job."""
    values: dict[str, Any] = {field.name: None for field in dataclasses.fields(RunManifest)}
    empty = RunManifest(**values | {
        "model_digests": (), "partition_by": (), "nodes": ({"reason": uri_of(secret)},), "files": (), "run_id": "x",
        "input": uri_of(secret), "output": uri_of(secret), "settings": {"model": uri_of(secret), "columns": [uri_of(secret)]},
    })
    assert leaks(empty.dumps().decode()) == []
    assert empty.dumps().count(b"s3a://***@bucket/photos") == 5


def test_values_of_other_types_stay() -> None:
    """Numbers, nulls; tuples become lists, as in JSON."""
    assert shown_values({"a": (1, None, True, "s3://k:s@b")}) == {"a": [1, None, True, "s3://***@b"]}
