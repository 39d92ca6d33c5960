"""``sparkq report``: a page of a run, without Spark and without torch."""
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import HANG_SECONDS
from tests.cli.conftest import Command
from tests.report.written_runs import failed, ok, write_run


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    """Two runs, of which ``late`` was committed last."""
    for run_id, hour in (("late", "09"), ("early", "05")):
        write_run(
            tmp_path / "predictions", [ok("/a.jpg", 1, 0.5), failed("/b.jpg", "not_found")], run_id=run_id,
            ended=f"2026-11-21T{hour}:00:00+00:00",
        )
    return tmp_path / "predictions"


def test_newest_run(sparkq: Command, predictions: Path, tmp_path: Path) -> None:
    """What came out, and where the page is."""
    found = sparkq("report", predictions, "--output", tmp_path / "report.html")
    assert found.code == 0, found.err
    assert found.out.splitlines() == [
        "run     late", "result  Committed, but 1 of 2 images failed (50.0 %); the limit is 25.0 %.", "error   1 rows not_found",
        f"report  {tmp_path}/report.html",
    ]
    assert "Prediction run late" in (tmp_path / "report.html").read_text()


def test_document(sparkq: Command, predictions: Path, tmp_path: Path) -> None:
    """One run by its id, with a config file, and no pictures."""
    (tmp_path / "report.yaml").write_text("predictions: predictions\noutput: pages/report.html\nimages: false\n")
    found = sparkq("report", "--config", tmp_path / "report.yaml", "--run-id", "early", "--json")
    assert found.code == 0, found.err
    assert (found.document["run_id"], found.document["rows"], found.document["error_codes"]) == ("early", 2, {"not_found": 1})
    assert found.document["report"] == str(tmp_path / "pages" / "report.html")
    assert "pictures were left out" in (tmp_path / "pages" / "report.html").read_text()


def test_refused(sparkq: Command, predictions: Path, tmp_path: Path) -> None:
    """One sentence each, and nothing is written."""
    place = tmp_path / "new" / "report.html"
    sparkq("report", "--output", place).assert_refused("predictions")
    sparkq("report", tmp_path / "absent", "--output", place).assert_refused("absent", "nothing there", "Hint: ")
    sparkq("report", predictions, "--run-id", "noon", "--output", place).assert_refused("run noon", "early, late", "--run-id")
    sparkq("report", predictions, "--output", predictions / "report.html").assert_refused("outside", "beside that folder")
    sparkq("report", predictions, "--output", tmp_path / "report.pdf").assert_refused("FILE.html")
    assert not place.parent.exists() and not (predictions / "report.html").exists()


def test_needs_neither_torch_nor_java(predictions: Path, tmp_path: Path) -> None:
    """It runs where predictions are looked at: in seconds, beside no cluster."""
    script = (
        "import sys\nfrom sparkq.cli import main\n"
        f"assert main(['report', {str(predictions)!r}, '--output', {str(tmp_path / 'report.html')!r}]) == 0\n"
        "print({'torch', 'pyspark', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=HANG_SECONDS)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "set()", done.stderr
