"""Names outside ASCII under a locale without UTF-8, as cron, YARN and containers start programs."""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sparkq.spark.session.encoding import utf8_locale
from tests import HANG_SECONDS

NO_UTF8 = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "1"}
LISTS = """
import sys
from pyspark.sql import SparkSession
from sparkq.spark.session.session import session_for
with session_for("local[1]") as spark:
    print(spark._jvm.java.lang.System.getProperty("sun.jnu.encoding"))
    spark.createDataFrame([("ü", 1)], "city string, n int").write.partitionBy("city").parquet(sys.argv[1])
"""


@pytest.mark.parametrize(("variables", "during"), [
    ({"LC_ALL": "C"}, "C.UTF-8"), ({}, "C.UTF-8"), ({"LANG": "de_DE.UTF-8"}, None),
    ({"LC_ALL": "en_US.utf8", "LANG": "C"}, "en_US.utf8"),
    ({"LC_ALL": "", "LC_CTYPE": "POSIX", "LANG": "C.UTF-8"}, "C.UTF-8"),
])
def test_locale(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], during: str | None) -> None:
    """Changed where it has no UTF-8, and only while a process is started."""
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with utf8_locale():
        assert os.environ.get("LC_ALL") == during
    assert {name: os.environ.get(name) for name in ("LC_ALL", "LC_CTYPE", "LANG")} == {
        name: variables.get(name) for name in ("LC_ALL", "LC_CTYPE", "LANG")
    }


@pytest.mark.jvm
def test_a_session_of_our_own(tmp_path: Path) -> None:
    """Its JVM names files in UTF-8: the folder of a partition is called as its value."""
    done = subprocess.run(
        [sys.executable, "-c", LISTS, str(tmp_path / "out")], env={**os.environ, **NO_UTF8}, capture_output=True, text=True,
        timeout=HANG_SECONDS, check=True,
    )
    assert done.stdout.split()[-1] == "UTF-8"
    assert (tmp_path / "out" / "city=ü").is_dir()


@pytest.mark.jvm
def test_a_submitted_jvm_without_utf8_is_told_of(tmp_path: Path) -> None:
    """It is spark-submit's, and nothing can be changed any more: this job's output then fails."""
    (tmp_path / "job.py").write_text(LISTS)
    submit = Path(sys.executable).with_name("spark-submit")
    done = subprocess.run(
        [submit, "--master", "local[1]", tmp_path / "job.py", tmp_path / "out"], capture_output=True, text=True,
        timeout=HANG_SECONDS, check=False, env={**os.environ, **NO_UTF8, "PYSPARK_PYTHON": sys.executable},
    )
    assert done.returncode != 0 and "expected UTF-8 for names of files; got ANSI_X3.4-1968" in done.stdout + done.stderr
