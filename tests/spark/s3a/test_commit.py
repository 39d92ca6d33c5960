"""The commit on a store that renames nothing in one step: killed, overlapped, unanswered; Hadoop's S3A is of before 3.4.2."""
from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator

import pyarrow.parquet as pq
import pytest

from sparkq.errors import InputError
from sparkq.runs.committed import find_run
from tests.cli.standalone import wait_for
from tests.disturbed_s3 import DisturbedS3
from tests.local_s3 import BUCKET, LocalS3
from tests.spark.s3a.conftest import DISTURBED, IMAGES, MODEL, PHOTOS
from tests.spark.s3a.local_s3a import SPARKQ, S3ASession, s3a_environment

pytestmark = [pytest.mark.jvm, pytest.mark.s3a]
ONCE = Counter(f"{PHOTOS}/{number}.png" for number in range(IMAGES))
"""Every image has one row."""


class Attempts:
    """Processes that compute one run, ``sparkq predict`` each, whose manifests wait at the proxy."""

    def __init__(self, proxy: DisturbedS3, name: str) -> None:
        self.proxy, self.name = proxy, name
        self.processes: list[subprocess.Popen[str]] = []
        proxy.disturbances.held.clear()
        proxy.disturbances.held_writes = f"/{name}/_sparkq/nightly.json"

    def start(self) -> None:
        """One more."""
        # Longer than any of them waits for another.
        environment = s3a_environment(self.proxy.s3, {"fs.s3a.connection.timeout": "600000"})
        self.processes.append(subprocess.Popen(
            [*SPARKQ, *arguments(self.name), "--master", "local[1]"], env=environment, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, start_new_session=True,
        ))

    def wait_until_held(self) -> None:
        """All of them have copied their files, and are about to write the manifest."""
        def held() -> bool:
            ended = [process for process in self.processes if process.poll() is not None]
            assert not ended, ended[0].communicate()[1][-3000:]
            return len(self.proxy.disturbances.held) == len(self.processes)

        wait_for(held, "the manifests")

    def kill(self) -> None:
        """All that is left, and their JVMs and workers."""
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def arguments(name: str) -> list[str]:
    """Of the command."""
    output = f"s3a://{BUCKET}/{name}"
    return ["predict", "--model", MODEL, "--input", PHOTOS, "--output", output, "--run-id", "nightly", "--json"]


@pytest.fixture
def attempts(proxy: DisturbedS3, request: pytest.FixtureRequest) -> Iterator[Attempts]:
    """Of an output that is named after the test."""
    attempts = Attempts(proxy, request.node.name)
    yield attempts
    proxy.disturbances.held_writes = None
    attempts.kill()


def listed(server: LocalS3, name: str) -> Counter[str]:
    """How many rows each image has, in the files that the manifest lists."""
    batches = find_run(server.uri(name)).batches(["path"], batch_rows=100)
    return Counter(path for batch in batches for path in batch.column("path").to_pylist())


def plain(server: LocalS3, name: str) -> Counter[str]:
    """The same for a reader of all Parquet files that are there."""
    files = [data for key, data in server.objects().items() if key.startswith(f"{name}/run_id=") and key.endswith(".parquet")]
    return Counter(path for data in files for path in pq.read_table(io.BytesIO(data)).column("path").to_pylist())


def test_killed_between_copy_and_manifest(s3a: S3ASession, server: LocalS3, attempts: Attempts) -> None:
    """Its files are there and are no run; the same command again makes the run."""
    attempts.start()
    attempts.wait_until_held()
    assert plain(server, attempts.name) == ONCE
    attempts.kill()
    attempts.proxy.disturbances.held_writes = None
    with pytest.raises(InputError, match="expected a folder with committed runs"):
        find_run(server.uri(attempts.name))
    found = s3a.sparkq(*arguments(attempts.name))
    assert found.code == 0, found.err
    assert (found.document["rows"], found.document["already_committed"]) == (IMAGES, False)
    assert listed(server, attempts.name) == ONCE
    assert Counter(row["path"] for row in s3a.predictions(f"s3a://{BUCKET}/{attempts.name}")) == ONCE


def test_overlapping_attempts(server: LocalS3, attempts: Attempts) -> None:
    """Both have found no manifest, and write it one after the other: one wins, the other says so and leaves nothing."""
    attempts.start()
    attempts.start()
    attempts.wait_until_held()
    first, second = attempts.proxy.disturbances.held
    first.set()
    wait_for(lambda: any(process.poll() is not None for process in attempts.processes), "the first to commit")
    second.set()
    ends = [(*process.communicate(timeout=600), process.returncode) for process in attempts.processes]
    assert sorted(code for *_, code in ends) == [0, 75], ends
    [told] = [err for _, err, code in ends if code == 75]
    assert "another attempt of the same run id was first" in told
    [document] = [json.loads(out) for out, _, code in ends if code == 0]
    assert find_run(server.uri(attempts.name)).manifest["attempt"] == document["attempt"]
    assert listed(server, attempts.name) == ONCE
    assert plain(server, attempts.name) == ONCE


def test_the_answer_to_the_manifest_is_lost(s3a: S3ASession, proxy: DisturbedS3) -> None:
    """It is there, and is written again: who finds the own one has won."""
    output, end = f"s3a://{DISTURBED}/unanswered", "/unanswered/_sparkq/nightly.json"
    proxy.disturbances.lost_answers[end] = 1.0
    found = s3a.sparkq("predict", "--model", MODEL, "--input", PHOTOS, "--output", output, "--run-id", "nightly", "--json")
    assert found.code == 0, found.err
    assert proxy.disturbances.lost_answers[end] == 0
    assert Counter(row["path"] for row in s3a.predictions(output)) == ONCE
