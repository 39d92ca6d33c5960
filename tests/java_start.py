"""Java that starts fast: the suite starts some sixty JVMs, none of which runs for long."""
from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyspark

from tests import HANG_SECONDS

# Compiled once, and lightly: a JVM of a test ends before better code would pay. Nothing of its own on standard output.
_LIGHT = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xlog:disable"

_WARM_UP = """
import sys
from pyspark.sql import SparkSession

builder = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
spark = builder.config("spark.driver.host", "127.0.0.1").getOrCreate()
spark.range(10).mapInArrow(lambda batches: batches, "id long").write.parquet(sys.argv[1])
spark.read.parquet(sys.argv[1]).groupBy("id").count().collect()
java = spark.sparkContext._gateway.proc
spark.stop()
java.stdin.close()
java.wait()
"""


def clean_environment() -> dict[str, str]:
    """This process's variables for a Spark program of its own: nothing of a session, but how Java starts."""
    kept = ("SPARK_SUBMIT_OPTS", "SPARK_LAUNCHER_OPTS", "SPARK_DAEMON_JAVA_OPTS")
    return {key: value for key, value in os.environ.items() if key in kept or not key.startswith(("PYSPARK_", "SPARK_"))}


def start_java_fast(folder: Path) -> None:
    """Keep Spark's classes as a JVM has them in memory, once a machine, below `folder`; JVMs of this process use them.

    Class data sharing (JEP 350): half the time of a session's start and first job.
    """
    java = Path(os.environ["JAVA_HOME"]) / "bin" / "java" if "JAVA_HOME" in os.environ else shutil.which("java")
    if java is None:
        return
    version = subprocess.run([java, "-version"], capture_output=True, check=False).stderr
    key = hashlib.sha256(version + f"{Path(pyspark.__file__)} {pyspark.__version__} {_WARM_UP}".encode()).hexdigest()[:16]
    archive = folder / f"spark-{key}.jsa"
    if not archive.exists():
        _write_archive(archive)
    options = f"{_LIGHT} -XX:SharedArchiveFile={archive}" if archive.exists() else _LIGHT
    os.environ["SPARK_SUBMIT_OPTS"] = f'{options} "-Dspark.executor.extraJavaOptions={options}"'
    os.environ["SPARK_DAEMON_JAVA_OPTS"] = options
    # Its own, small class path: another archive would be needed.
    os.environ["SPARK_LAUNCHER_OPTS"] = _LIGHT


def _write_archive(archive: Path) -> None:
    archive.parent.mkdir(parents=True, exist_ok=True)
    unfinished = archive.with_name(f"{archive.name}.{os.getpid()}")
    output = archive.with_name(f"{unfinished.name}.parquet")
    environment = clean_environment() | {
        "SPARK_SUBMIT_OPTS": f"{_LIGHT} -XX:ArchiveClassesAtExit={unfinished}", "PYSPARK_PYTHON": sys.executable,
    }
    command = [sys.executable, "-c", _WARM_UP, output]
    # On a machine that is too busy for it, JVMs start slowly, and that is all.
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(command, env=environment, capture_output=True, check=False, timeout=HANG_SECONDS)
    shutil.rmtree(output, ignore_errors=True)
    if unfinished.exists():
        unfinished.rename(archive)
