"""``sparkq predict`` on a real standalone cluster: executors that die, and settings that people have."""
from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from sparkq.spark.output.read import read_predictions
from tests import HANG_SECONDS
from tests.cli.conftest import Command, run_process
from tests.cli.standalone import Standalone, standalone_cluster, wait_for

pytestmark = pytest.mark.jvm

# Other processes for every task, executors that come and go, everything encrypted on its way.
SETTINGS = """
spark.dynamicAllocation.enabled                  true
spark.dynamicAllocation.shuffleTracking.enabled  true
spark.dynamicAllocation.maxExecutors             2
spark.executor.cores                             1
spark.python.worker.reuse                        false
spark.io.encryption.enabled                      true
spark.sql.adaptive.enabled                       true
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standalone]:
    """Two workers of one core each."""
    with standalone_cluster(tmp_path_factory.mktemp("standalone")) as running:
        yield running


@pytest.fixture
def variables(environment: dict[str, str]) -> dict[str, str]:
    """Everything on the loopback interface, the same interpreter everywhere."""
    return {**environment, "PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}


def _rows(spark: SparkSession, output: Path) -> dict[str, Any]:
    """Label and status by name of the image; each image once."""
    found = read_predictions(spark, str(output)).select("path", "status", "label", "score").collect()
    rows = {Path(row["path"]).name: (row["status"], row["label"], row["score"]) for row in found}
    assert len(rows) == len(found)
    return rows


def test_an_executor_dies(
    spark: SparkSession, cluster: Standalone, console_script: str, variables: dict[str, str], slow_images: Path, model: Path,
    tmp_path: Path,
) -> None:
    """SIGKILL while it predicts: its tasks run again elsewhere, and every image has one row."""
    before = set(cluster.logs())
    command = [console_script, "predict", "--model", model, "--input", slow_images, "--output", tmp_path / "out"]
    job = subprocess.Popen(
        [*map(str, command), "--master", cluster.url], env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )

    def predicting() -> list[Path]:
        assert job.poll() is None, job.communicate()[1][-3000:]
        return [log for log, said in cluster.logs().items() if log not in before and "loaded model" in said]

    wait_for(predicting, "an executor that has loaded the model")
    os.kill(cluster.executor_pid(predicting()[0]), signal.SIGKILL)
    out, err = job.communicate(timeout=HANG_SECONDS)
    assert job.returncode == 0, err
    assert len(set(cluster.logs()) - before) == 3, "two executors, and one for the dead one"
    rows = _rows(spark, tmp_path / "out")
    assert rows.keys() == {path.name for path in slow_images.iterdir()}
    assert {status for status, *_ in rows.values()} == {"ok"} and len(set(rows.values())) == 1


def test_rows_do_not_depend_on_settings(
    spark: SparkSession, cluster: Standalone, sparkq: Command, console_script: str, variables: dict[str, str], images: Path,
    model: Path, tmp_path: Path,
) -> None:
    """Dynamic allocation, no reuse of workers, encryption: the rows of a plain local session, bit for bit."""
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "spark-defaults.conf").write_text(SETTINGS)
    arguments = ("predict", "--model", model, "--input", images, "--output")
    done = run_process(
        [console_script, *map(str, arguments), str(tmp_path / "cluster"), "--master", cluster.url],
        {**variables, "SPARK_CONF_DIR": str(tmp_path / "conf")}, tmp_path,
    )
    assert done.code == 0, done.err
    done = sparkq(*arguments, tmp_path / "local")
    assert done.code == 0, done.err
    rows = _rows(spark, tmp_path / "cluster")
    assert rows == _rows(spark, tmp_path / "local") and len(rows) == len(list(images.iterdir()))
