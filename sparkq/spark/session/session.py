"""The Spark session that a command runs in."""
from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pyspark import SparkContext
from pyspark.sql import SparkSession

from sparkq.errors import InputError
from sparkq.redaction import get_logger

__all__ = ["session_for"]

_logger = get_logger(__name__)


@contextmanager
def session_for(master: str | None, *, console_progress: bool = True) -> Iterator[SparkSession]:
    """The session that exists, else one of our own that is stopped at the end.

    Parameters
    ----------
    master : str, optional
        Spark master of a session of our own; default ``local[*]``. Without effect, and said so, where a session exists
        (a notebook, a shell) or where spark-submit chose a master.
    console_progress : bool
        Whether Spark shows stages and tasks in a terminal, in a session of our own.

    Raises
    ------
    InputError
        If there is no Java to run Spark on.
    """
    existing = SparkSession.getActiveSession()
    if existing is None and SparkContext._active_spark_context is not None:
        # "Active" is a thread's: a thread that did not make the session finds it this way.
        existing = SparkSession.builder.getOrCreate()
    if existing is not None:
        if master is not None and master != existing.sparkContext.master:
            _logger.warning("master %s has no effect: a session on %s exists", master, existing.sparkContext.master)
        yield existing
        return
    session = _submitted_session(master) if "PYSPARK_GATEWAY_PORT" in os.environ else _own_session(
        master or "local[*]", console_progress=console_progress,
    )
    try:
        yield session
    finally:
        session.stop()


def _submitted_session(master: str | None) -> SparkSession:
    # spark-submit has started the JVM and holds its configuration; a master set here would fight with it.
    if master is not None:
        _logger.warning("master %s has no effect: spark-submit chose one", master)
    return SparkSession.builder.appName("sparkq").getOrCreate()


def _own_session(master: str, *, console_progress: bool) -> SparkSession:
    _check_java()
    # Workers run this interpreter, not whatever `python3` is first on the path.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("PYSPARK_DRIVER_PYTHON", sys.executable)
    builder = SparkSession.builder.appName("sparkq").master(master)
    if master.startswith("local"):
        # A laptop's host name often resolves to nothing that it can bind or reach.
        builder = builder.config("spark.driver.bindAddress", "127.0.0.1").config("spark.driver.host", "127.0.0.1")
        builder = builder.config("spark.ui.enabled", "false")
    builder = builder.config("spark.ui.showConsoleProgress", "true" if console_progress and sys.stderr.isatty() else "false")
    session = builder.getOrCreate()
    # What fails comes back as an exception; Spark's log would tell the same in pages of Java.
    session.sparkContext.setLogLevel("FATAL")
    return session


def _check_java() -> None:
    home = os.environ.get("JAVA_HOME")
    if shutil.which("java") is None and not (home and os.path.exists(os.path.join(home, "bin", "java"))):
        raise InputError(
            "Java: expected a Java 17 or later for Spark; got none on PATH or in JAVA_HOME.",
            hint="Debian and Ubuntu: apt-get install openjdk-17-jre-headless; macOS: brew install openjdk@17.",
        )
