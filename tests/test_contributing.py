"""``.github/CONTRIBUTING.md``: its commands find what they name."""
from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests import HANG_SECONDS, ROOT

PAGE = (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")
LINES = [
    line.partition("#")[0].strip()
    for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL) for line in block.splitlines()
]
MAKE = sorted({line for line in [*LINES, *re.findall(r"`(make .+?)`", PAGE)] if line.startswith("make ")})
PYTEST = [line for line in LINES if line.startswith(".venv/bin/python -m pytest ")]


def test_every_command_is_tried() -> None:
    assert {line for line in LINES if line} == set(PYTEST) | (set(MAKE) & set(LINES)) and len(PYTEST) >= 3


@pytest.mark.parametrize("command", MAKE)
def test_make_knows_the_target(command: str) -> None:
    """And finds a way to it; CI goes it."""
    done = subprocess.run([*command.split(), "--dry-run", "--always-make"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout, done.stderr


@pytest.mark.parametrize("command", PYTEST)
def test_pytest_finds_tests(command: str) -> None:
    """Files, words and markers."""
    arguments = [sys.executable, *command.split()[1:], "--collect-only", "-q"]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=HANG_SECONDS)
    assert done.returncode == 0 and re.search(r"^[1-9]\d*(/\d+)? tests? collected", done.stdout, re.MULTILINE), done.stdout
