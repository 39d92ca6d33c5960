"""Which session a command runs in, and whose it is to stop."""
from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
import threading
from pathlib import Path

import pyspark
import pytest
from pyspark.sql import SparkSession

from sparkq.errors import InputError
from sparkq.spark.session.java import require_java
from sparkq.spark.session.session import session_for
from tests import HANG_SECONDS
from tests.java_start import clean_environment
from tests.spark.local import assert_clear


@pytest.mark.parametrize("master", [None, "local[2]"])
def test_existing_session_is_used_and_kept(spark: SparkSession, master: str | None, caplog: pytest.LogCaptureFixture) -> None:
    """A notebook's session stays as it is; no word about a master that is the session's own."""
    with session_for(master) as session:
        assert session.sparkContext is spark.sparkContext
    assert spark.range(3).count() == 3
    assert caplog.text == ""


def test_another_master_has_no_effect(spark: SparkSession, caplog: pytest.LogCaptureFixture) -> None:
    """And a line says so."""
    with caplog.at_level(logging.WARNING), session_for("yarn") as session:
        assert session.sparkContext.master == "local[2]"
    assert "master yarn has no effect" in caplog.text


def test_session_is_kept_for_other_threads(spark: SparkSession) -> None:
    """A thread that did not make the session uses it all the same, and does not stop it at the end."""
    seen: list[object] = []

    def in_thread() -> None:
        with session_for(None) as session:
            seen.append(session.sparkContext)

    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join()
    assert seen == [spark.sparkContext]
    assert spark.range(3).count() == 3


def test_session_is_kept_when_the_command_fails(spark: SparkSession) -> None:
    """An error inside does not stop what is not ours."""
    with pytest.raises(ZeroDivisionError), session_for(None):
        raise ZeroDivisionError
    assert spark.range(3).count() == 3


@pytest.mark.jvm
def test_own_session_is_local_and_stopped(tmp_path: Path) -> None:
    """Without a session: all cores of this machine, workers with this interpreter, stopped at the end, also on errors."""
    script = tmp_path / "own.py"
    script.write_text(
        "import sys\n"
        "from pyspark import SparkContext\n"
        "from sparkq.spark.session.session import session_for\n"
        "try:\n"
        "    with session_for(None) as session:\n"
        "        context = session.sparkContext\n"
        "        print(context.master)\n"
        "        print(context.parallelize([0], 1).map(lambda _: sys.executable).collect()[0])\n"
        "        raise ZeroDivisionError\n"
        "except ZeroDivisionError:\n"
        "    print(SparkContext._active_spark_context)\n"
    )
    environment = clean_environment()
    command = [sys.executable, script]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=HANG_SECONDS, check=True)
    assert done.stdout.splitlines() == ["local[*]", sys.executable, "None"]


def test_no_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Said before Spark is started, with how to install it."""
    # With a session of another test in this process no Java would be needed.
    monkeypatch.setattr(SparkSession, "getActiveSession", lambda: None)
    monkeypatch.setattr("pyspark.SparkContext._active_spark_context", None)
    monkeypatch.delenv("PYSPARK_GATEWAY_PORT", raising=False)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError) as caught, session_for(None):
        pass
    assert_clear(caught.value, "Java 17", "apt-get install")


def test_an_old_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By what it says of itself, and by the file beside it; newer ones pass."""
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text('#!/bin/sh\necho \'openjdk version "1.8.0_392"\' >&2\n')
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    if int(pyspark.__version__.partition(".")[0]) < 4:
        require_java()
        return
    with pytest.raises(InputError) as caught:
        require_java()
    assert_clear(caught.value, "Java 17", "1.8.0_392", "JAVA_HOME")
    for version, is_new_enough in (("11.0.2", False), ("17", True), ("21.0.1", True), ("25-ea", True)):
        (tmp_path / "release").write_text(f'IMPLEMENTOR="x"\nJAVA_VERSION="{version}"\n')
        with contextlib.nullcontext() if is_new_enough else pytest.raises(InputError, match=version):
            require_java()
