"""The encoding in which a JVM reads and writes names of local files: UTF-8, or every name outside ASCII is another file's.

Java takes it from the locale once, when it starts. Programs of cron, YARN and containers often start without one.
"""
from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from pyspark.sql import SparkSession

from sparkq.redaction import get_logger

__all__ = ["utf8_locale", "warn_without_utf8"]

_logger = get_logger(__name__)
_UTF8 = ("utf-8", "utf8")


@contextmanager
def utf8_locale() -> Iterator[None]:
    """Give processes that are started meanwhile a locale with UTF-8, if this process has none."""
    # In the order in which they count; an empty one is as good as none.
    current = next(filter(None, map(os.environ.get, ("LC_ALL", "LC_CTYPE", "LANG"))), "")
    if current.lower().endswith(_UTF8):
        yield
        return
    before = os.environ.get("LC_ALL")
    os.environ["LC_ALL"] = "C.UTF-8"
    try:
        yield
    finally:
        del os.environ["LC_ALL"]
        if before is not None:
            os.environ["LC_ALL"] = before


def warn_without_utf8(spark: SparkSession) -> None:
    """Say that a JVM which somebody else started cannot name local files outside ASCII. On the driver, a classic session."""
    found = str(spark._jvm.java.lang.System.getProperty("sun.jnu.encoding"))  # type: ignore[union-attr]
    if found.lower() not in _UTF8:
        _logger.warning(
            "Spark's JVM: expected UTF-8 for names of files; got %s: local outputs, and files that Spark itself reads, cannot "
            "have names outside ASCII. Hint: start it with LC_ALL=C.UTF-8 in the environment.", found,
        )
