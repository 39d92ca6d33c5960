"""A real Airflow, in its own environment and with its own database; it finds Spark and sparkq in ours."""
from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import HANG_SECONDS, ROOT
from tests.java_start import clean_environment

BIN = ROOT / ".venv-airflow" / "bin"


@dataclass(frozen=True)
class Airflow:
    """An Airflow with a database of its own.

    Parameters
    ----------
    home : Path
        Its folder.
    environment : dict
        Of its processes.
    """

    home: Path
    environment: dict[str, str]

    def start(self, *command: object, **variables: str) -> subprocess.Popen[str]:
        """A process in a group of its own; its output goes to a file named after it."""
        name = "-".join(Path(str(part)).stem for part in command[:2])
        with open(self.home / f"{name}.log", "w", encoding="utf-8") as log:
            return subprocess.Popen(
                [str(part) for part in (BIN / str(command[0]), *command[1:])], env=self.environment | variables, cwd=self.home,
                stdout=log, stderr=subprocess.STDOUT, text=True, start_new_session=True,
            )

    def run(self, *command: object, **variables: str) -> list[str]:
        """A process to its end: the lines that it printed."""
        process = self.start(*command, **variables)
        try:
            code = process.wait(timeout=HANG_SECONDS)
        finally:
            stop(process)
        name = "-".join(Path(str(part)).stem for part in command[:2])
        lines = (self.home / f"{name}.log").read_text(encoding="utf-8").splitlines()
        assert code == 0, "\n".join(lines[-60:])
        return lines

    def answers(self) -> bool:
        """Whether its API server takes connections."""
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", int(self.environment["AIRFLOW__API__PORT"]))) == 0

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """From its database."""
        with contextlib.closing(sqlite3.connect(f"file:{self.home}/airflow.db?mode=ro", uri=True, timeout=60)) as database:
            return database.execute(query).fetchall()


def stop(process: subprocess.Popen[str]) -> None:
    """With all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def local_airflow(home: Path) -> Airflow:
    """With the project's DAGs, a Spark connection to two local cores, and an empty database in `home`."""
    assert (BIN / "airflow").is_file(), "There is no Airflow in .venv-airflow. Hint: make airflow"
    kept = {name: value for name, value in clean_environment().items() if not name.startswith(("AIRFLOW", "AWS_"))}
    port = _free_port()
    airflow = Airflow(home, kept | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "jobs" / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        # The scheduler and the API server write to it at the same time.
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db?timeout=60",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "1",
        "AIRFLOW__CORE__PARALLELISM": "2",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        # Only backfills, no run of yesterday.
        "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "False",
        "AIRFLOW_CONN_SPARK_DEFAULT": json.dumps({"conn_type": "spark", "host": "local[2]"}),
        # spark-submit is a script of pyspark's, and the driver and the workers have sparkq.
        "PATH": f"{Path(sys.executable).parent}:{kept['PATH']}",
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_LOCAL_IP": "127.0.0.1",
    })
    airflow.run("airflow", "db", "migrate")
    return airflow


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
