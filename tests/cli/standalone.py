"""A real standalone cluster: one master, workers of one core each, as processes of this machine."""
from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyspark

from tests import HANG_SECONDS
from tests.java_start import clean_environment


@dataclass(frozen=True)
class Standalone:
    """A running cluster.

    Parameters
    ----------
    url : str
        ``spark://...``.
    work : Path
        Where executors log: ``WORKER/APPLICATION/EXECUTOR/stderr``.
    """

    url: str
    work: Path

    def logs(self) -> dict[Path, str]:
        """What every executor that ever ran has said."""
        return {path: path.read_text(errors="replace") for path in sorted(self.work.glob("*/app-*/*/stderr"))}

    def executor_pid(self, log: Path) -> int:
        """Process of the executor that writes `log`."""
        application, executor = log.parent.parent.name, log.parent.name
        for process in Path("/proc").glob("[0-9]*"):
            try:
                command = (process / "cmdline").read_bytes().decode().split("\0")
            except OSError:
                continue
            if "org.apache.spark.executor.CoarseGrainedExecutorBackend" in command and application in command:
                if command[command.index("--executor-id") + 1] == executor:
                    return int(process.name)
        raise AssertionError(f"no process of executor {executor}")


def wait_for(found: Callable[[], object], what: str) -> None:
    """Until `found` gives something true."""
    until = time.monotonic() + HANG_SECONDS
    while not found():
        assert time.monotonic() < until, f"waited {HANG_SECONDS} s for {what}"
        time.sleep(0.02)


@contextmanager
def standalone_cluster(folder: Path, *, workers: int = 2) -> Iterator[Standalone]:
    """Start a cluster below `folder`, and stop it with all that it started."""
    with ExitStack() as stack:
        stack.enter_context(_daemon(
            "org.apache.spark.deploy.master.Master", "--host", "127.0.0.1", "--port", "0", "--webui-port", "0",
            log=folder / "master.log",
        ))
        url = _found_in(folder / "master.log", r"Starting Spark master at (spark://\S+)")
        for number in range(workers):
            stack.enter_context(_daemon(
                "org.apache.spark.deploy.worker.Worker", "--host", "127.0.0.1", "--port", "0", "--webui-port", "0",
                "--cores", "1", "--memory", "1g", "--work-dir", str(folder / "work" / str(number)), url,
                log=folder / f"worker-{number}.log",
            ))
        for number in range(workers):
            _found_in(folder / f"worker-{number}.log", "(Successfully registered)")
        yield Standalone(url, folder / "work")


@contextmanager
def _daemon(name: str, *arguments: str, log: Path) -> Iterator[None]:
    environment = clean_environment()
    environment |= {"SPARK_LOCAL_IP": "127.0.0.1", "SPARK_DAEMON_MEMORY": "256m"}
    spark_class = Path(pyspark.__file__).parent / "bin" / "spark-class"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [spark_class, name, *arguments], env=environment, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True,
        )
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(HANG_SECONDS)


def _found_in(log: Path, pattern: str) -> str:
    wait_for(lambda: re.search(pattern, log.read_text(errors="replace")), f"{pattern} in {log.name}")
    match = re.search(pattern, log.read_text(errors="replace"))
    assert match
    return match.group(1)
