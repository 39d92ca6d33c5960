"""Spark 3.5 with Hadoop's real S3A client, in an environment of its own, and the command ``sparkq`` there."""
from __future__ import annotations

import contextlib
import json
import select
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import ROOT
from tests.cli.conftest import Outcome
from tests.java_start import clean_environment
from tests.local_s3 import LocalS3

PYTHON = ROOT / ".venv-s3a" / "bin" / "python"
"""The interpreter of the environment that `make s3a` makes."""
_JARS = ("hadoop-aws-3.3.1.jar", "aws-java-sdk-bundle-1.11.901.jar")
_PATIENCE_SECONDS = 600
SPARKQ = (str(PYTHON), str(Path(sys.executable).with_name("sparkq")))
"""The installed command, run by the interpreter of that environment."""


def s3a_environment(server: LocalS3, settings: Mapping[str, str]) -> dict[str, str]:
    """Variables of a process whose Spark and whose pyarrow find their buckets on `server`, with more `settings` of Hadoop's."""
    assert PYTHON.is_file(), "There is no Spark with S3A in .venv-s3a. Hint: make s3a"
    [jars] = (PYTHON.parent.parent / "lib").glob("python*/site-packages/sagemaker_pyspark/jars")
    hadoop = {
        # An open-source Spark that is told what EMR's s3:// is.
        "fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
        "fs.s3a.endpoint": f"http://{server.host}:{server.port}", "fs.s3a.path.style.access": "true",
        "fs.s3a.connection.ssl.enabled": "false", "fs.s3a.access.key": "key", "fs.s3a.secret.key": "secret", **settings,
    }
    # On the class path, as on a cluster's nodes: spark.jars would copy 190 MB into every session.
    class_path = ":".join(str(jars / name) for name in _JARS)
    submit = ["--driver-class-path", class_path]
    for name, value in hadoop.items():
        submit += ["--conf", f"spark.hadoop.{name}={value}"]
    return clean_environment() | server.environment() | {
        "PYSPARK_SUBMIT_ARGS": shlex.join([*submit, "pyspark-shell"]), "SPARK_LOCAL_IP": "127.0.0.1",
    }


@dataclass(frozen=True)
class S3ASession:
    """A session in a process of its own, in which many commands run one after the other.

    Parameters
    ----------
    server : LocalS3
        Where its buckets are.
    process : subprocess.Popen
        Of ``session_process.py``.
    """

    server: LocalS3
    process: subprocess.Popen[str]

    def sparkq(self, *arguments: object, variables: Mapping[str, str] | None = None) -> Outcome:
        """Run the command; `variables` are the environment's while it runs."""
        return Outcome(**self._asked(arguments=[str(part) for part in arguments], variables=dict(variables or {})))

    def predictions(self, output: str, *, variables: Mapping[str, str] | None = None, **options: object) -> list[dict[str, Any]]:
        """The rows of `sparkq.read_predictions`, as JSON has them."""
        found = self._asked(read=output, options=options, variables=dict(variables or {}))
        assert "rows" in found, found["err"]
        rows: list[dict[str, Any]] = found["rows"]
        return rows

    def refusal(self, output: str) -> str:
        """The message with which `sparkq.read_predictions` refuses; it begins with ``unexpected`` where none of ours does."""
        return str(self._asked(read=output, options={}, variables={})["err"])

    def _asked(self, **request: object) -> dict[str, Any]:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        assert select.select([self.process.stdout], [], [], _PATIENCE_SECONDS)[0], f"no answer to {request}"
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer


@contextlib.contextmanager
def s3a_session(server: LocalS3, folder: Path, settings: Mapping[str, str]) -> Iterator[S3ASession]:
    """Start the session, and end it with its JVM; its log is in `folder`."""
    with open(folder / "session.log", "w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [PYTHON, "-m", "tests.spark.s3a.session_process"], env=s3a_environment(server, settings), cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
        )
        try:
            yield S3ASession(server, process)
        finally:
            process.communicate(timeout=_PATIENCE_SECONDS)
