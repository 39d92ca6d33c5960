"""On two executors: the model is loaded once a Python worker, and every executor and attempt predicts the same."""
from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyspark
import pytest

from sparkq.artifact.file import ModelArtifact
from tests import HANG_SECONDS
from tests.java_start import clean_environment
from tests.spark.cluster.cluster_job import FAILING_PARTITIONS, PARTITIONS

pytestmark = pytest.mark.jvm
Rows = dict[str, list[Any]]


@dataclass(frozen=True)
class ClusterRun:
    """What the jobs found, and every load that the executors logged: (executor, process id)."""

    found: dict[str, Any]
    loads: dict[str, list[tuple[str, int]]]


@pytest.fixture(scope="module")
def run(artifact: ModelArtifact, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> ClusterRun:
    """One run of ``cluster_job.py``."""
    work = tmp_path_factory.mktemp("cluster")
    artifact.save(str(work / "model.sparkq"))
    environment = clean_environment()
    environment |= {"SPARK_HOME": str(_spark_home(work / "home")), "PYSPARK_PYTHON": sys.executable}
    script = Path(__file__).with_name("cluster_job.py")
    done = subprocess.run(
        [sys.executable, script, work / "model.sparkq", folder, work / "found.json"], env=environment, cwd=work,
        capture_output=True, text=True, timeout=HANG_SECONDS,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    return ClusterRun(json.loads((work / "found.json").read_text()), _loads(work / "home" / "work"))


def _spark_home(home: Path) -> Path:
    """Spark as pip installed it, with a place of its own for what its executors log (``work/``)."""
    home.mkdir()
    for part in Path(pyspark.__file__).parent.iterdir():
        if part.name != "work":
            (home / part.name).symlink_to(part)
    return home


def _loads(work: Path) -> dict[str, list[tuple[str, int]]]:
    """Loads by executor, from the standard error of each; an application has a folder, and so has each executor in it."""
    line = re.compile(r"loaded model .* pid=(\d+) on ")
    return {
        log.parent.name: [(log.parent.name, int(pid)) for pid in line.findall(log.read_text())]
        for log in sorted(work.glob("app-*/*/stderr"))
    }


def test_both_executors_predicted(run: ClusterRun) -> None:
    """Each has loaded the model, so each has computed rows."""
    assert len(run.loads) == 2
    assert all(loads for loads in run.loads.values())


def test_one_load_a_worker(run: ClusterRun) -> None:
    """No worker has loaded the model twice, in two jobs of twenty tasks."""
    counted = Counter(pid for loads in run.loads.values() for _, pid in loads)
    assert set(counted.values()) == {1}
    assert set(run.found["rdd"]["pids"]) <= set(counted)


def test_loads_are_not_counted_by_partition(run: ClusterRun) -> None:
    """Twenty partitions twice on two cores: workers are reused, so there are far fewer loads than tasks."""
    assert run.found["dataframe"]["partitions"] == len(run.found["rdd"]["attempts"]) == PARTITIONS >= 20
    # Spark keeps workers of DataFrames and of RDDs apart: two of each, and one for each that dies on purpose.
    assert sum(map(len, run.loads.values())) <= 2 + 2 + len(FAILING_PARTITIONS)


@pytest.mark.parametrize("job", ["dataframe", "rdd"])
def test_rows_are_those_of_the_local_predictor(run: ClusterRun, expected: dict[str, dict[str, Any]], job: str) -> None:
    """Bit for bit, whatever executor and attempt computed a row."""
    rows: Rows = run.found[job]["rows"]
    assert rows == {name: [row["label"], row["score"]] for name, row in expected.items()}


def test_some_rows_are_of_second_attempts(run: ClusterRun) -> None:
    """Those of the partitions whose first attempt died, and no others."""
    attempts = {int(partition): attempt for partition, attempt in run.found["rdd"]["attempts"].items()}
    assert attempts == {partition: int(partition in FAILING_PARTITIONS) for partition in range(PARTITIONS)}
