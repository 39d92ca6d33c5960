"""``sparkq demo``: the whole way on real scans, as a user runs it first."""
from __future__ import annotations

import csv
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from sparkq.artifact.file import ModelArtifact
from tests.cli.conftest import TRACEBACK, Command


@pytest.mark.smoke
@pytest.mark.jvm
def test_demo(sparkq_process: Command, tmp_path: Path) -> None:
    """A table with real accuracies, an artifact smaller than the float one, Parquet with a row for each scan, a report."""
    found = sparkq_process("demo", "--output", tmp_path / "demo", "--master", "local[2]")
    assert found.code == 0, found.err
    assert TRACEBACK not in found.err
    table = dict(re.findall(r"^(\S+(?: \S+)*)  +(.+)$", found.out, re.MULTILINE))
    assert len(table) == len(found.out.splitlines())
    percent = {key: float(table[key].removesuffix(" %")) for key in ("float top-1", "INT8 top-1", "agreement")}
    assert all(95 < value <= 100 for value in percent.values())
    assert float(table["INT8 file"].split()[0]) < float(table["float file"].split()[0])
    assert float(table["images per second"].split()[0]) > 0
    predictions = tmp_path / "demo" / "predictions"
    assert str(predictions) in table["predictions"]
    rows = pq.read_table(predictions).to_pylist()
    assert len(rows) == len({row["path"] for row in rows}) == 500
    assert {row["status"] for row in rows} == {"ok"}
    # The table's accuracy is that of the rows.
    with (tmp_path / "demo" / "labels.csv").open() as stream:
        truth = {Path(row["path"]).name: int(row["label"]) for row in csv.DictReader(stream)}
    right = sum(row["label"] == truth[Path(row["path"]).name] for row in rows)
    assert percent["INT8 top-1"] == pytest.approx(100 * right / 500, abs=0.01)
    assert ModelArtifact.load(table["artifact"]).digest == rows[0]["model_digest"]
    report = tmp_path / "demo" / "report.html"
    assert str(report) in table["report"] and "All 500 images were predicted." in report.read_text()
