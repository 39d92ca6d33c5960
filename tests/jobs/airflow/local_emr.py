"""What EMR does with a step, on this machine: moto's EMR keeps the cluster and its steps, and a real spark-submit runs them."""
from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
from moto.core import DEFAULT_ACCOUNT_ID
from moto.emr.models import emr_backends

from tests.local_s3 import BUCKET, LocalS3

REGION = "us-east-1"
YARN = ["--master", "yarn", "--deploy-mode", "cluster"]


class LocalEmr:
    """A cluster that works on its steps, one after the other. The driver of the first one is killed while it writes.

    EMR reads and writes S3 as a filesystem. Here a folder takes its place: what is in the bucket is there when a step starts, and
    what the step leaves there is in the bucket when the step ends.

    Parameters
    ----------
    s3 : LocalS3
        Whose server has EMR, too.
    folder : Path
        In the bucket's place.
    environment : dict
        In which there is a spark-submit.
    """

    def __init__(self, s3: LocalS3, folder: Path, environment: dict[str, str]) -> None:
        self.s3, self.folder, self.environment = s3, folder, environment
        self.endpoint = f"http://{s3.host}:{s3.port}"
        self.client = boto3.client(
            "emr", endpoint_url=self.endpoint, region_name=REGION, aws_access_key_id="key", aws_secret_access_key="secret",
        )
        instances = {"KeepJobFlowAliveWhenNoSteps": True, "InstanceCount": 1, "MasterInstanceType": "m5.xlarge"}
        self.cluster_id = str(self.client.run_job_flow(Name="sparkq", Instances=instances)["JobFlowId"])
        self.failure: BaseException | None = None
        self._stopped = threading.Event()

    def steps(self) -> list[dict[str, Any]]:
        """The first one first."""
        steps = self.client.list_steps(ClusterId=self.cluster_id)["Steps"]
        return sorted(steps, key=lambda step: step["Status"]["Timeline"]["CreationDateTime"])

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Runs what is submitted meanwhile."""
        thread = threading.Thread(target=self._work)
        thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            thread.join()
            self.client.close()

    def _work(self) -> None:
        done = 0
        try:
            while not self._stopped.wait(0.2):
                steps = self.steps()
                if len(steps) > done:
                    code = self._run(steps[done]["Config"]["Args"], killed=done == 0)
                    self._end(steps[done]["Id"], "COMPLETED" if code == 0 else "FAILED")
                    done += 1
        except BaseException as error:
            self.failure = error

    def _end(self, step_id: str, state: str) -> None:
        cluster = emr_backends[DEFAULT_ACCOUNT_ID][REGION].clusters[self.cluster_id]
        next(step for step in cluster.steps if step.id == step_id).state = state

    def _run(self, arguments: list[str], *, killed: bool) -> int:
        """The arguments as they are, but for the master, and the folder in the bucket's place."""
        for key, content in self.s3.objects().items():
            (self.folder / key).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / key).write_bytes(content)
        start = arguments.index(YARN[0])
        assert arguments[start: start + len(YARN)] == YARN
        command = [*arguments[:start], "--master", "local[2]", *arguments[start + len(YARN):]]
        command = [part.replace(f"s3://{BUCKET}", str(self.folder)) for part in command]
        with open(self.folder / "step.log", "ab") as log:
            process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log, start_new_session=True)
            if killed:
                while process.poll() is None and not any(self.folder.glob("predictions/_sparkq/staging/*/*")):
                    time.sleep(0.02)
                os.killpg(process.pid, signal.SIGKILL)
            code = process.wait()
        for path in self.folder.glob("predictions/**/*"):
            if path.is_file():
                self.s3.client.put_object(Bucket=BUCKET, Key=str(path.relative_to(self.folder)), Body=path.read_bytes())
        return code
