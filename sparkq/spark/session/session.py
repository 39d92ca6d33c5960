"""The Spark session that a command runs in."""
from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pyspark import SparkConf, SparkContext
from pyspark.java_gateway import launch_gateway
from pyspark.sql import SparkSession

from sparkq.redaction import get_logger
from sparkq.spark.session.encoding import utf8_locale, warn_without_utf8
from sparkq.spark.session.failures import machine_failure
from sparkq.spark.session.java import require_java

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
    SparkError
        If Spark cannot be started, or ends under the job.
    """
    existing = SparkSession.getActiveSession()
    if existing is None and SparkContext._active_spark_context is not None:
        # "Active" is a thread's: a thread that did not make the session finds it this way.
        existing = SparkSession.builder.getOrCreate()
    if existing is not None:
        if master is not None and master != existing.sparkContext.master:
            _logger.warning("master %s has no effect: a session on %s exists", master, existing.sparkContext.master)
        with _told():
            yield existing
        return
    with _told():
        session = _submitted_session(master) if "PYSPARK_GATEWAY_PORT" in os.environ else _own_session(
            master or "local[*]", console_progress=console_progress,
        )
        try:
            yield session
        finally:
            # A JVM that has died cannot stop it; what happened before is what to tell.
            with contextlib.suppress(Exception):
                session.stop()


@contextmanager
def _told() -> Iterator[None]:
    """Turn what the machine or the cluster did to the job into an expected failure."""
    try:
        yield
    except Exception as error:
        raise machine_failure(error) or error from error


def _submitted_session(master: str | None) -> SparkSession:
    # spark-submit has started the JVM and holds its configuration; a master set here would fight with it.
    if master is not None:
        _logger.warning("master %s has no effect: spark-submit chose one", master)
    session = SparkSession.builder.appName("sparkq").getOrCreate()
    warn_without_utf8(session)
    return session


def _own_session(master: str, *, console_progress: bool) -> SparkSession:
    require_java()
    # Workers run this interpreter, not whatever `python3` is first on the path.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("PYSPARK_DRIVER_PYTHON", sys.executable)
    settings = {"spark.app.name": "sparkq", "spark.master": master}
    if master.startswith("local"):
        # A laptop's host name often resolves to nothing that it can bind or reach.
        settings |= {"spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1", "spark.ui.enabled": "false"}
    settings["spark.ui.showConsoleProgress"] = "true" if console_progress and sys.stderr.isatty() else "false"
    conf = SparkConf().setAll(list(settings.items()))
    if SparkContext._gateway is None:
        # In a process group of its own: a signal to ours (timeout, YARN) ends us, and we clean up with the JVM's help. It ends
        # with us whatever happens, since it waits for the end of its standard input.
        with utf8_locale():
            gateway = launch_gateway(conf, {"start_new_session": True})  # type: ignore[no-untyped-call]
        SparkContext._ensure_initialized(gateway=gateway)
    session = SparkSession.builder.config(conf=conf).getOrCreate()
    # What fails comes back as an exception; Spark's log would tell the same in pages of Java.
    session.sparkContext.setLogLevel("FATAL")
    return session
