"""``sparkq doctor``: every executor's row, and exit code 1 where one must not run the job."""
from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from tests import HANG_SECONDS
from tests.cli.conftest import TRACEBACK, Command
from tests.models import digits_artifact


def test_document(spark: SparkSession, sparkq: Command, model: Path) -> None:
    found = sparkq("doctor", "--model", model, "--json")
    assert found.code == 0, found.err
    document = found.document
    [row] = document["executors"]
    assert document["expected"] == 1 and document["warnings"] == []
    assert (row["engine"], row["failure"]) == ("fbgemm", None) and "avx2" in row["isa"]
    assert set(row["engines"]) == {"fbgemm", "x86", "onednn", "openvino"}
    assert row["golden_db"] > 25 and row["load_seconds"] > 0


def test_without_a_model(spark: SparkSession, sparkq: Command) -> None:
    """A table for people."""
    found = sparkq("doctor")
    assert found.code == 0, found.err
    for text in ("host", "AVX2", "float32", "fbgemm", "OMP_NUM_THREADS=1"):
        assert text in found.out


@pytest.mark.parametrize("as_json", [True, False])
def test_a_wrong_golden_output(spark: SparkSession, sparkq: Command, tmp_path: Path, as_json: bool) -> None:
    """One sentence and exit code 1, and the table all the same."""
    artifact = digits_artifact()
    golden = replace(artifact.manifest.golden, output=-artifact.manifest.golden.output)
    replace(artifact, manifest=replace(artifact.manifest, golden=golden)).save(str(tmp_path / "false.sparkq"))
    found = sparkq("doctor", "--model", tmp_path / "false.sparkq", *(["--json"] if as_json else []))
    assert found.code == 1 and TRACEBACK not in found.err
    [line] = [line for line in found.err.splitlines() if line.startswith("sparkq: error: ")]
    assert "1 of 1 do not" in line and "golden output" in line and "Hint: take those nodes" in found.err
    assert ("golden output" in found.document["executors"][0]["failure"]) if as_json else ("no fbgemm: " in found.out)


def test_refused(spark: SparkSession, sparkq: Command, model: Path) -> None:
    """Before any task runs."""
    sparkq("doctor", "--engine", "fbgemm").assert_refused("engine", "--model")
    sparkq("doctor", "--model", model, "--engine", "float32").assert_refused("float32")


@pytest.mark.jvm
def test_every_executor_of_a_cluster(console_script: str, environment: dict[str, str], model: Path, tmp_path: Path) -> None:
    """Two executors of one core each, in processes of their own: a row each."""
    command = [console_script, "doctor", "--model", str(model), "--master", "local-cluster[2,1,1024]", "--json"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=HANG_SECONDS)
    assert done.returncode == 0, done.stderr[-3000:]
    document = json.loads(done.stdout)
    rows = document["executors"]
    assert document["expected"] == len(rows) == len({row["executor"] for row in rows}) == 2
    assert all(row["golden_db"] > 25 and row["executor"].startswith(os.uname().nodename) for row in rows)
