"""What a bug report says of the machine that it comes from."""
from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from sparkq import __version__
from sparkq.cli.crash_log import write_crash_log
from tests.java_start import clean_environment


def _written() -> tuple[dict[str, str], str]:
    """The head of a log, by name, and the traceback below it."""
    try:
        raise ZeroDivisionError("a bug")
    except ZeroDivisionError:
        where, _, rest = Path(write_crash_log()).read_text(encoding="utf-8").partition("\n\n")
        assert "report it" in where and "where you got sparkq from" in where
        head, _, below = rest.partition("\n\n")
    return {name: value.strip() for name, _, value in (line.partition(":") for line in head.splitlines())}, below


@pytest.fixture(autouse=True)
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where they go."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_versions_and_platform_stand_above_the_traceback() -> None:
    """As the installed packages give them themselves."""
    head, below = _written()
    assert (head["sparkq"], head["Python"], head["OS"]) == (__version__, platform.python_version(), platform.platform())
    for package in ("torch", "pyspark", "pyarrow", "openvino"):
        assert head[package] == importlib.metadata.version(package)
    assert f", {os.cpu_count()} cores" in head["CPU"]
    assert below.startswith("Traceback (most recent call last):") and below.endswith("ZeroDivisionError: a bug\n")


def test_a_package_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search path of packages without a package: none is found."""
    monkeypatch.setattr(sys, "path", [])
    assert _written()[0]["openvino"] == "not installed"


def test_the_version_of_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Java itself gives it, where it says so in a file; found by JAVA_HOME before PATH, as Spark does."""
    told = subprocess.run(["java", "-version"], env=clean_environment(), capture_output=True, text=True, check=True).stderr
    monkeypatch.delenv("JAVA_HOME", raising=False)
    assert f'"{_written()[0]["Java"].partition(" ")[0]}"' in told
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert _written()[0]["Java"] == f"unknown version ({tmp_path}/bin/java)"
    monkeypatch.delenv("JAVA_HOME")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert _written()[0]["Java"] == "none found"


def test_torch_is_not_imported_for_its_version() -> None:
    """What cannot be imported may be the error that is told."""
    code = "import sys; from sparkq.cli.crash_log import write_crash_log; write_crash_log(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=clean_environment(), capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
