"""What ends a nightly job early: signals, a full disk, a lost worker, a second attempt. No row lost or doubled, one result."""
from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pyspark
import pytest
from pyspark.sql import SparkSession

from sparkq.spark.output.read import read_predictions
from tests import HANG_SECONDS, ROOT
from tests.cli.conftest import TRACEBACK, Command


class Job:
    """``sparkq predict`` in a process group of its own."""

    def __init__(self, command: list[object], environment: dict[str, str], output: Path) -> None:
        self.output = output
        self.process = subprocess.Popen(
            [str(part) for part in command], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def wait_until(self, happened: Callable[[], object]) -> None:
        """Until then; the job must not end before."""
        deadline = time.monotonic() + HANG_SECONDS
        while not happened() and time.monotonic() < deadline:
            if self.process.poll() is not None:
                pytest.fail(f"it ended too early: {self.process.communicate()[1][-3000:]}")
            time.sleep(0.01)
        assert happened()

    def has_committed_a_task(self) -> bool:
        """Its rows are in a file, in the staging folder; other tasks are to come."""
        return any(self.output.glob("_sparkq/staging/*/*/tasks/_temporary/0/task_*"))

    def end(self) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        out, err = self.process.communicate(timeout=HANG_SECONDS)
        return self.process.returncode, out, err


StartJob = Callable[..., Job]


@pytest.fixture
def start(
    console_script: str, environment: dict[str, str], slow_images: Path, model: Path, tmp_path: Path,
) -> Iterator[StartJob]:
    """Start one; what is left of it at the end is killed."""
    jobs: list[Job] = []

    def started(*options: object, command: tuple[object, ...] = (console_script, "predict")) -> Job:
        paths = ["--model", model, "--input", slow_images, "--output", tmp_path / "out"]
        # A session of spark-submit's does not choose its interpreter itself, as one of our own does.
        variables = {**environment, "PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
        jobs.append(Job([*command, *paths, *options], variables, tmp_path / "out"))
        return jobs[-1]

    yield started
    for job in jobs:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(job.process.pid, signal.SIGKILL)
        job.process.communicate()


def _names(spark: SparkSession, output: Path) -> Counter[str]:
    """Names of the images that have a row, by both readers: ours, and whoever reads all Parquet files that are there."""
    rows = read_predictions(spark, str(output), all_runs=True)
    names = Counter(Path(row["path"]).name for row in rows.select("path").collect())
    assert Counter(Path(row["path"]).name for row in spark.read.parquet(str(output)).select("path").collect()) == names
    return names


@pytest.mark.jvm
def test_driver_killed_then_resumed(
    spark: SparkSession, sparkq: Command, start: StartJob, slow_images: Path, model: Path, tmp_path: Path,
) -> None:
    """A third was done the night before; the driver dies while it writes the rest; the same command again ends it."""
    everything = Counter(path.name for path in slow_images.iterdir())
    early = Counter(name for name in everything if name.startswith("early"))
    arguments = ["predict", "--model", model, "--input", slow_images, "--output", tmp_path / "out", "--json"]
    assert sparkq(*arguments, "--glob", "early*").code == 0
    job = start("--resume", "--run-id", "nightly", "--master", "local[1]")
    job.wait_until(job.has_committed_a_task)
    os.killpg(job.process.pid, signal.SIGKILL)
    assert job.end()[0] == -signal.SIGKILL
    assert _names(spark, tmp_path / "out") == early
    found = sparkq(*arguments, "--resume", "--run-id", "nightly")
    assert found.code == 0, found.err
    assert (found.document["rows"], found.document["skipped"]) == (len(everything) - len(early), len(early))
    assert _names(spark, tmp_path / "out") == everything
    assert not (tmp_path / "out" / "_sparkq" / "staging").exists()


@pytest.mark.jvm
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_signals_leave_nothing(start: StartJob, number: signal.Signals, tmp_path: Path) -> None:
    """Ctrl-C reaches the whole group, a scheduler's SIGTERM the process: 130, one word, and no folder."""
    job = start("--master", "local[1]")
    job.wait_until(job.has_committed_a_task)
    if number is signal.SIGINT:
        os.killpg(job.process.pid, number)
    else:
        os.kill(job.process.pid, number)
    code, out, err = job.end()
    assert (code, out) == (130, ""), err
    assert err.splitlines()[-1] == "sparkq: interrupted"
    assert TRACEBACK not in err
    assert not (tmp_path / "out").exists()


@pytest.mark.jvm
def test_sigterm_of_spark_submit(start: StartJob, tmp_path: Path) -> None:
    """Which ends the JVM under the job: nothing is to be seen, whatever it could not clean up."""
    submit = Path(pyspark.__file__).parent / "bin" / "spark-submit"
    command = (submit, "--master", "local[1]", "--conf", "spark.ui.enabled=false", ROOT / "jobs" / "predict_images.py")
    job = start("--run-id", "nightly", command=command)
    job.wait_until(job.has_committed_a_task)
    os.kill(job.process.pid, signal.SIGTERM)
    code, out, _ = job.end()
    assert code != 0 and out == ""
    assert [path.name for path in (tmp_path / "out").glob("*")] in ([], ["_sparkq"])
    assert list((tmp_path / "out").glob("_sparkq/*.json")) == []


@pytest.mark.jvm
def test_two_attempts_overlap(
    spark: SparkSession, sparkq: Command, start: StartJob, slow_images: Path, model: Path, tmp_path: Path,
) -> None:
    """The first one stands still for a while, so that the scheduler starts another: 0 for one, 75 for the other."""
    first = start("--run-id", "nightly", "--master", "local[1]", "--json")
    first.wait_until(first.has_committed_a_task)
    os.killpg(first.process.pid, signal.SIGSTOP)
    arguments = ["predict", "--model", model, "--input", slow_images, "--output", tmp_path / "out", "--run-id", "nightly"]
    second = sparkq(*arguments, "--json")
    assert (second.code, second.document["already_committed"]) == (0, False), second.err
    os.killpg(first.process.pid, signal.SIGCONT)
    code, out, err = first.end()
    assert (code, '"type": "RunTakenError"' in out) == (75, True), err
    assert "another attempt of the same run id was first" in err and TRACEBACK not in err
    assert _names(spark, tmp_path / "out") == Counter(path.name for path in slow_images.iterdir())
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"_sparkq", "run_id=nightly"}
    third = sparkq(*arguments)
    assert third.code == 0 and "committed already" in third.out


@pytest.mark.jvm
def test_python_worker_killed(spark: SparkSession, start: StartJob, slow_images: Path, tmp_path: Path) -> None:
    """Out of memory, say: Spark starts its task again on a new worker; in the times of the tasks its rows count once."""
    job = start("--master", "local[2,4]", "--json")
    assert job.process.stderr is not None
    killed = next(found.group(1) for line in job.process.stderr if (found := re.search(r"loaded model .* pid=(\d+) on ", line)))
    os.kill(int(killed), signal.SIGKILL)
    code, out, err = job.end()
    assert code == 0, err
    tasks = json.loads(out)["tasks"]
    assert (tasks["rows"], tasks["measured"]) == (len(list(slow_images.iterdir())), tasks["tasks"])
    assert tasks["failed_attempts"] >= 1
    assert set(re.findall(r"loaded model .* pid=(\d+) on ", err)) - {killed}
    assert _names(spark, tmp_path / "out") == Counter(path.name for path in slow_images.iterdir())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of 16 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(disk)], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"mounting a tmpfs takes root: {mounted.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_full_disk(spark: SparkSession, sparkq: Command, images: Path, model: Path, small_disk: Path) -> None:
    """One sentence, nothing left; with room, the same command works."""
    arguments = ["predict", "--model", model, "--input", images, "--output", small_disk / "out"]
    sparkq(*arguments).assert_refused(str(small_disk / "out"), "No space left on device", "Hint: ")
    assert list(small_disk.iterdir()) == []
    subprocess.run(["mount", "-o", "remount,size=10M", str(small_disk)], check=True)
    assert sparkq(*arguments).code == 0
    assert _names(spark, small_disk / "out") == Counter(path.name for path in images.iterdir())


@pytest.mark.jvm
def test_sigterm_of_the_whole_group(start: StartJob, tmp_path: Path) -> None:
    """As `timeout` and YARN send it, and `timeout` twice: 130, one word, and no folder."""
    job = start("--master", "local[1]")
    job.wait_until(job.has_committed_a_task)
    os.killpg(job.process.pid, signal.SIGTERM)
    os.kill(job.process.pid, signal.SIGTERM)
    code, out, err = job.end()
    assert (code, out, err.splitlines()[-1]) == (130, "", "sparkq: interrupted"), err
    assert TRACEBACK not in err
    assert not (tmp_path / "out").exists()


@pytest.mark.jvm
def test_the_jvm_killed(start: StartJob, tmp_path: Path) -> None:
    """By the kernel, for its memory, say: an expected error, and nothing is left of the run."""
    job = start("--master", "local[1]")
    job.wait_until(job.has_committed_a_task)
    children = Path(f"/proc/{job.process.pid}/task/{job.process.pid}/children").read_text().split()
    (java,) = (child for child in children if Path(f"/proc/{child}/comm").read_text().strip() == "java")
    os.kill(int(java), signal.SIGKILL)
    code, out, err = job.end()
    assert (code, out) == (1, ""), err
    assert "sparkq: error: Spark: expected its JVM to run until the job has ended" in err
    assert TRACEBACK not in err and "unexpected error" not in err
    assert not (tmp_path / "out").exists()


@pytest.mark.jvm
def test_standard_output_that_is_closed(
    console_script: str, environment: dict[str, str], images: Path, model: Path, tmp_path: Path,
) -> None:
    """The run is committed, which is what the exit code says."""
    command = f'"{console_script}" predict --model "{model}" --input "{images}" --output "{tmp_path}/out" --master "local[1]" >&-'
    done = subprocess.run(["sh", "-c", command], env=environment, stderr=subprocess.PIPE, text=True, timeout=HANG_SECONDS)
    assert done.returncode == 0 and TRACEBACK not in done.stderr, done.stderr
    assert len(list((tmp_path / "out" / "_sparkq").glob("*.json"))) == 1


def test_output_that_may_not_be_written(spark: SparkSession, sparkq: Command, images: Path, model: Path) -> None:
    """Where the kernel lets nobody write, not even root: one sentence."""
    sparkq("predict", "--model", model, "--input", images, "--output", "/sys/sparkq").assert_refused("/sys/sparkq", "write")
