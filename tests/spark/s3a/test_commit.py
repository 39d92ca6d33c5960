"""The commit on a store that renames nothing in one step: killed, overlapped, unanswered; Hadoop's S3A is of before 3.4.2."""
from __future__ import annotations

import contextlib
import io
import math
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator

import pyarrow.parquet as pq
import pytest

from sparkq.errors import InputError
from sparkq.runs.committed import find_run
from tests.cli.conftest import Outcome
from tests.cli.standalone import wait_for
from tests.disturbed_s3 import DisturbedS3
from tests.local_s3 import BUCKET, LocalS3
from tests.spark.s3a.conftest import DISTURBED, IMAGES, MODEL, PHOTOS
from tests.spark.s3a.local_s3a import SPARKQ, S3ASession, s3a_environment

pytestmark = [pytest.mark.jvm, pytest.mark.s3a]
ONCE = Counter(f"{PHOTOS}/{number}.png" for number in range(IMAGES))
"""Every image has one row."""


class HeldAttempt:
    """A process that computes a run, ``sparkq predict``, and whose manifest waits at the proxy."""

    def __init__(self, proxy: DisturbedS3, name: str) -> None:
        self.name, self._disturbances = name, proxy.disturbances
        self._disturbances.held.clear()
        self._disturbances.held_writes = f"/{name}/_sparkq/nightly.json"
        # Longer than it waits for anybody.
        environment = s3a_environment(proxy.s3, {"fs.s3a.connection.timeout": "600000"})
        self.process = subprocess.Popen(
            [*SPARKQ, *arguments(name), "--master", "local[1]"], env=environment, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, start_new_session=True,
        )

    def wait_until_held(self) -> None:
        """It has copied its files, and is about to write the manifest."""
        def held() -> bool:
            assert self.process.poll() is None, self.process.communicate()[1][-3000:]
            return bool(self._disturbances.held)

        wait_for(held, "the manifest")

    def release(self) -> tuple[int, str]:
        """Let the manifest through; the exit code and what it told."""
        self._disturbances.held[0].set()
        told = self.process.communicate(timeout=600)[1]
        return self.process.returncode, told

    def kill(self) -> None:
        """What is left of it, its JVM and workers with it."""
        self._disturbances.held_writes = None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()


def arguments(name: str, bucket: str = BUCKET) -> list[str]:
    """The command that writes to a folder of this name."""
    output = f"s3a://{bucket}/{name}"
    return ["predict", "--model", MODEL, "--input", PHOTOS, "--output", output, "--run-id", "nightly", "--json"]


@pytest.fixture
def attempt(proxy: DisturbedS3, request: pytest.FixtureRequest) -> Iterator[HeldAttempt]:
    """Of an output that is named after the test."""
    attempt = HeldAttempt(proxy, request.node.name)
    yield attempt
    attempt.kill()


def listed(server: LocalS3, name: str) -> Counter[str]:
    """How many rows each image has, in the files that the manifest lists."""
    batches = find_run(server.uri(name)).batches(["path"], batch_rows=100)
    return Counter(path for batch in batches for path in batch.column("path").to_pylist())


def plain(server: LocalS3, name: str) -> Counter[str]:
    """The same for a reader of all Parquet files that are there."""
    files = [data for key, data in server.objects().items() if key.startswith(f"{name}/run_id=") and key.endswith(".parquet")]
    return Counter(path for data in files for path in pq.read_table(io.BytesIO(data)).column("path").to_pylist())


def test_killed_between_copy_and_manifest(s3a: S3ASession, server: LocalS3, attempt: HeldAttempt) -> None:
    """Its files are there and are no run; the same command again makes the run."""
    attempt.wait_until_held()
    assert plain(server, attempt.name) == ONCE
    attempt.kill()
    with pytest.raises(InputError, match="expected a folder with committed runs"):
        find_run(server.uri(attempt.name))
    found = s3a.sparkq(*arguments(attempt.name))
    assert found.code == 0, found.err
    assert (found.document["rows"], found.document["already_committed"]) == (IMAGES, False)
    assert listed(server, attempt.name) == ONCE
    assert Counter(row["path"] for row in s3a.predictions(f"s3a://{BUCKET}/{attempt.name}")) == ONCE


def test_overlapping_attempts(s3a: S3ASession, server: LocalS3, attempt: HeldAttempt) -> None:
    """Both have found no manifest, and write it one after the other: one wins, the other says so and leaves nothing."""
    attempt.wait_until_held()
    first = s3a.sparkq(*arguments(attempt.name))
    assert first.code == 0, first.err
    assert "may both report success" not in first.err
    code, told = attempt.release()
    assert code == 75, told
    assert "another attempt of the same run id was first" in told
    assert find_run(server.uri(attempt.name)).manifest.attempt == first.document["attempt"]
    assert listed(server, attempt.name) == plain(server, attempt.name) == ONCE


def test_the_answer_to_the_manifest_is_lost(s3a: S3ASession, proxy: DisturbedS3) -> None:
    """It is there, and is written again: who finds the own one has won."""
    lost = proxy.disturbances.lost_answers = {"/unanswered/_sparkq/nightly.json": 1.0}
    found = disturbed_run(s3a, "unanswered")
    assert found.code == 0, found.err
    assert list(lost.values()) == [0]


def test_another_write_of_the_manifest_is_under_way(s3a: S3ASession, proxy: DisturbedS3) -> None:
    """It may yet fail, so the condition is asked again a little later."""
    conflicts = {"/conflict/_sparkq/nightly.json": 2.0}
    proxy.disturbances.conditions = {409: conflicts}
    found = disturbed_run(s3a, "conflict")
    assert found.code == 0, found.err
    assert list(conflicts.values()) == [0]
    assert "may both report success" not in found.err


def test_a_store_that_knows_no_conditions(s3a: S3ASession, proxy: DisturbedS3) -> None:
    """The run is committed without, and the warning says what that means."""
    proxy.disturbances.conditions = {501: {"/plain/_sparkq/nightly.json": math.inf}}
    found = disturbed_run(s3a, "plain")
    assert found.code == 0, found.err
    assert found.err.count("may both report success") == 1, found.err
    again = s3a.sparkq(*arguments("plain", DISTURBED))
    assert (again.code, again.document["already_committed"]) == (0, True), again.err


def disturbed_run(s3a: S3ASession, name: str) -> Outcome:
    """The command whose output is reached through the proxy; each image has one row if it is a success."""
    found = s3a.sparkq(*arguments(name, DISTURBED))
    if found.code == 0:
        assert Counter(row["path"] for row in s3a.predictions(f"s3a://{DISTURBED}/{name}")) == ONCE
    return found
