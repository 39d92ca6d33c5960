"""The command in this process and as a process of its own, and what it is given to work on."""
from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sparkq.cli import main
from tests import HANG_SECONDS
from tests.java_start import clean_environment
from tests.models import digit_files, digits, digits_artifact

IMAGES = 40
TRACEBACK = "Traceback (most recent call last)"
SAYS_WHAT_IS_WRONG = re.compile(r"sparkq: error: .+: expected .+; got:? .+")


@dataclass(frozen=True)
class Outcome:
    """What a command left: exit code, standard output, standard error."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document on standard output."""
        document = json.loads(self.out)
        assert isinstance(document, dict)
        return document

    def assert_refused(self, *words: str) -> None:
        """Exit code 1, one sentence with `words` and mostly a hint, no traceback, nothing on standard output.

        Without a hint the sentence says what was expected and what was found; `tests/test_errors.py` has the places.
        """
        assert self.code == 1, self.err
        lines = [line for line in self.err.splitlines() if line.startswith("sparkq: error: ")]
        assert len(lines) == 1, self.err
        told = self.err[self.err.index(lines[0]):].splitlines()
        if len(told) == 1:
            assert SAYS_WHAT_IS_WRONG.match(told[0]), self.err
        else:
            assert len(told) == 2 and told[1].startswith("Hint: ") and len(told[1]) > len("Hint: "), self.err
        for word in words:
            assert word in "\n".join(told)
        assert TRACEBACK not in self.err
        assert self.out == ""


Command = Callable[..., Outcome]


@pytest.fixture
def sparkq(capsys: pytest.CaptureFixture[str]) -> Command:
    """The command in this process: with the `spark` fixture it runs in that session."""

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """As a terminal has it: nothing set for Spark."""
    return clean_environment()


@pytest.fixture(scope="session")
def console_script() -> str:
    """The installed ``sparkq``."""
    script = Path(sys.executable).with_name("sparkq")
    assert script.exists(), "pip install -e . makes it"
    return str(script)


@pytest.fixture
def sparkq_process(console_script: str, environment: dict[str, str], tmp_path: Path) -> Command:
    """The command as a process, in an empty folder of its own."""

    def run(*arguments: object) -> Outcome:
        return run_process([console_script, *map(str, arguments)], environment, tmp_path)

    return run


def run_process(
    command: Sequence[str], environment: dict[str, str], folder: Path, *, timeout_seconds: int = HANG_SECONDS,
) -> Outcome:
    """Run to the end."""
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, timeout=timeout_seconds)
    return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scans as files, and beside the folder ``labels.csv``; tests only read here."""
    folder = tmp_path_factory.mktemp("digits") / "images"
    folder.mkdir()
    rows = ["path,label"]
    for index, content in enumerate(digit_files(IMAGES)):
        (folder / f"{index:03d}.png").write_bytes(content)
        rows.append(f"images/{index:03d}.png,{digits()[1].labels[index]}")
    (folder.parent / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="session")
def slow_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small files that take long to decode (4 million pixels each); a third of them are named ``early``."""
    folder = tmp_path_factory.mktemp("slow")
    stream = io.BytesIO()
    Image.new("L", (2000, 2000), 130).save(stream, "PNG")
    # Enough for three tasks on one core (31 files a task), each of which takes a while.
    for index in range(80):
        (folder / f"{'early' if index % 3 == 0 else 'late'}{index}.png").write_bytes(stream.getvalue())
    return folder


@pytest.fixture(scope="session")
def _model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "digits.sparkq"
    digits_artifact().save(str(path))
    return path


@pytest.fixture
def model(_model_file: Path, tmp_path: Path) -> Path:
    """A trained INT8 artifact, a copy that the test may spoil."""
    folder = tmp_path / "model"
    folder.mkdir()
    return Path(shutil.copy(_model_file, folder))


def tree(folder: Path) -> dict[str, bytes]:
    """Every file under a folder, hidden ones too, and its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
