"""Spark Connect: no broadcast, no JVM on the client, the same rows."""
from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sparkq.artifact.file import ModelArtifact
from tests import HANG_SECONDS
from tests.java_start import clean_environment
from tests.spark.local import COLUMNS

pytestmark = pytest.mark.jvm


@pytest.fixture(scope="module")
def found(artifact: ModelArtifact, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One run of ``connect_job.py``."""
    work = tmp_path_factory.mktemp("connect")
    artifact.save(str(work / "model.sparkq"))
    environment = clean_environment()
    environment["PYSPARK_PYTHON"] = sys.executable
    script = Path(__file__).with_name("connect_job.py")
    done = subprocess.run(
        [sys.executable, script, work / "model.sparkq", folder, work / "found.json"], env=environment, cwd=work,
        capture_output=True, text=True, timeout=HANG_SECONDS,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    result: dict[str, Any] = json.loads((work / "found.json").read_text())
    return result


def test_rows_are_those_of_one_image_at_a_time(found: dict[str, Any], expected: dict[str, dict[str, Any]]) -> None:
    """Every file once, and each says what the model says of it alone."""
    assert found["session"].startswith("pyspark.sql.connect.")
    assert found["columns"] == ["path", "modificationTime", "length", *COLUMNS]
    rows = {Path(row["path"]).name: {name: row[name] for name in COLUMNS} for row in found["rows"]}
    assert len(found["rows"]) == len(rows) and rows.keys() == expected.keys()
    for name, row in rows.items():
        assert {**row, "score": pytest.approx(row["score"]), "top_k": None} == {**expected[name], "top_k": None}


def test_two_models_of_one_session(found: dict[str, Any]) -> None:
    assert found["engines"] == ["fbgemm", "onednn"]


def test_sql_and_pipeline_stages(found: dict[str, Any], expected: dict[str, dict[str, Any]]) -> None:
    """A function of SQL and a stage of ``sparkq.ml`` answer as `predict` does; only saving a stage takes a JVM."""
    answers = {Path(path).name: answer for path, answer in found["sql"].items()}
    assert answers.keys() == expected.keys()
    for name, answer in answers.items():
        assert {**answer, "score": pytest.approx(answer["score"]), "top_k": None} == {**expected[name], "top_k": None}
    assert found["stage"] == [row["label"] for _, row in sorted(expected.items())]
    assert "expected a classic Spark session" in found["save"]


def test_what_needs_a_classic_session_says_so(found: dict[str, Any]) -> None:
    assert "expected a classic Spark session" in found["write_predictions"] and "Hint" in found["write_predictions"]
    assert "Connect" in found["same_everywhere"] and "same_everywhere" in found["same_everywhere"]
    assert "Hint" in found["same_everywhere"] and "\n" not in found["same_everywhere"]
