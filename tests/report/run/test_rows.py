"""Rows summed up piece by piece: what one would find who looks at all of them at once."""
from __future__ import annotations

import dataclasses
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparkq.report.run import rows as rows_module
from sparkq.report.run.rows import PICTURES, RowFigures, measure_rows
from sparkq.runs.committed import find_run
from tests.report.written_runs import failed, ok, write_run

SCORES = st.sampled_from([0.0, 0.25, 0.5, 0.999, 1.0])
ROWS = st.lists(st.one_of(
    st.builds(lambda label, score: ok("", label, score, f"name{label}"), st.integers(0, 3), SCORES),
    st.builds(lambda code: failed("", code), st.sampled_from(["not_an_image", "truncated_image", "not_found"])),
), max_size=60).map(lambda rows: [{**row, "path": f"/lake/{number * 7 % 61:02d}.jpg"} for number, row in enumerate(rows)])


def measured(output: Path, rows: list[dict[str, Any]], **options: Any) -> RowFigures:
    write_run(output, rows, **options)
    return measure_rows(find_run(str(output)))


@settings(max_examples=40, deadline=None)
@given(ROWS, st.integers(1, 4))
def test_as_if_all_were_looked_at_at_once(rows: list[dict[str, Any]], files: int) -> None:
    """Counts, and the picked rows in order, ties by path; however the rows are spread over files."""
    with tempfile.TemporaryDirectory() as folder:
        found = measured(Path(folder), rows, files=files)
    good = [row for row in rows if row["status"] == "ok"]
    assert (found.model_task, found.rows, found.errors) == ("classification", len(rows), len(rows) - len(good))
    assert found.error_codes == Counter(row["error_code"] for row in rows if row["status"] == "error")
    assert found.labels == Counter((row["label"], row["label_name"]) for row in good)
    assert [row.path for row in found.highest] == [
        row["path"] for row in sorted(good, key=lambda row: (-row["score"], row["path"]))[:PICTURES]
    ]
    assert [row.path for row in found.lowest] == [
        row["path"] for row in sorted(good, key=lambda row: (row["score"], row["path"]))[:PICTURES]
    ]
    if good:
        assert found.measures is not None and found.measures.total == len(good)
        assert found.measures.counts[-1] == sum(row["score"] > 0.98 for row in good)


def test_batches_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three rows at a time give the same, so that memory is a batch's."""
    rows = [ok(f"/{number}", number % 5, (number * 37 % 100) / 100) for number in range(50)] + [failed("/x", "not_found")] * 5
    whole = measured(tmp_path / "one", rows)
    monkeypatch.setitem(rows_module._BATCH_ROWS, "classification", 3)
    pieces = measured(tmp_path / "two", rows, files=3)
    assert (pieces.labels, pieces.error_codes, pieces.highest, pieces.lowest) == (
        whole.labels, whole.error_codes, whole.highest, whole.lowest,
    )
    assert whole.measures is not None and pieces.measures is not None
    assert np.array_equal(pieces.measures.counts, whole.measures.counts)


def test_of_failed_rows_each_code_is_seen(tmp_path: Path) -> None:
    """A code of one row beside another of hundreds."""
    rows = [failed(f"/{number:03d}", "not_found", "nothing there") for number in range(200)] + [failed("/rare", "corrupt_image")]
    found = measured(tmp_path, rows)
    assert [row.path for row in found.failed][:3] == ["/rare", "/000", "/001"] and len(found.failed) == PICTURES
    assert found.failed[1].error_message == "nothing there" and found.failed[1].measure is None


def test_rows_without_a_path(tmp_path: Path) -> None:
    found = measured(tmp_path, [ok(None, 1, 0.5), ok(None, 2, 0.75), failed(None, "missing_content")])
    assert [(row.path, row.label) for row in found.highest] == [(None, 2), (None, 1)]
    assert found.failed[0].path is None


@pytest.mark.parametrize("column", ["label_name", "status", "label"])
def test_columns_that_are_folders(tmp_path: Path, column: str) -> None:
    """Written escaped, read as they were; null has a folder, too."""
    rows = [ok("/a", 7, 0.5, "07"), ok("/b", 8, 0.75, "a:b/c d%"), failed("/c", "not_found")]
    found = measured(tmp_path, rows, partition_by=column)
    assert found.labels == {(7, "07"): 1, (8, "a:b/c d%"): 1}
    assert found.error_codes == {"not_found": 1}


def test_no_rows(tmp_path: Path) -> None:
    """All images were done before."""
    found = measured(tmp_path, [], skipped=9)
    assert (found.rows, found.highest, found.labels) == (0, (), {})


def box(label: int, score: float) -> dict[str, Any]:
    return {"label": label, "label_name": f"n{label}", "score": score, "x_min": 1.0, "y_min": 2.0, "x_max": 3.0, "y_max": 4.0}


def test_detection(tmp_path: Path) -> None:
    """Boxes are counted; an image is as sure as its best box, and one without a box is on no sheet."""
    rows: list[dict[str, Any]] = [
        {"path": "/two", "status": "ok", "detections": [box(1, 0.25), box(2, 0.875)]},
        {"path": "/none", "status": "ok", "detections": []},
        {"path": "/one", "status": "ok", "detections": [box(1, 0.5)]},
        {"path": "/many", "status": "ok", "detections": [box(0, 0.125)] * 70},
        failed("/bad", "corrupt_image"),
    ]
    found = measured(tmp_path, rows, task="detection")
    assert (found.boxes[:4], found.boxes[-1], sum(found.boxes)) == ((1, 1, 1, 0), 1, 4)
    assert found.labels == {(1, "n1"): 2, (2, "n2"): 1, (0, "n0"): 70}
    assert found.measures is not None and found.measures.total == 73
    assert [(row.path, row.measure) for row in found.highest] == [("/two", 0.875), ("/one", 0.5), ("/many", 0.125)]
    assert found.lowest[1].detections == (box(1, 0.5),)


def test_embedding(tmp_path: Path) -> None:
    """Lengths of vectors, whatever their range."""
    rows = [{"path": f"/{number}", "status": "ok", "embedding": [3.0 * number, 4.0 * number]} for number in range(1, 40)]
    found = measured(tmp_path, [*rows, failed("/bad", "corrupt_image")], task="embedding")
    assert (found.model_task, found.labels, found.errors) == ("embedding", {}, 1)
    assert [row.measure for row in found.highest][:2] == [195.0, 190.0] and found.lowest[0].measure == 5.0
    assert found.measures is not None and found.measures.total == 39 and found.measures.high == 256


def test_the_manifest_says_which_task(tmp_path: Path) -> None:
    """A table of one's own may have a column that is called as another task's."""
    write_run(tmp_path, [ok("/a", 1, 0.5)], task="classification")
    run = find_run(str(tmp_path))
    run.manifest.schema["fields"].append({"name": "embedding", "type": "string"})
    assert rows_module.model_task_of(run) == "embedding"
    named = dataclasses.replace(run, manifest=dataclasses.replace(run.manifest, task="classification"))
    assert measure_rows(named).labels == {(1, None): 1}
