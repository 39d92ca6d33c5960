"""Which run a report is of, and what is said where there is none."""
from __future__ import annotations

import json
from pathlib import Path

import pytest

from sparkq.errors import ConfigError, InputError
from sparkq.report.run.rows import measure_rows
from sparkq.runs.committed import find_run
from tests.report.written_runs import ok, write_run


def test_the_newest_run(tmp_path: Path) -> None:
    """By its commit, not by its name; or the one that is asked for. By path and by uri."""
    write_run(tmp_path / "out", [ok("/a", 1, 0.5)], run_id="z", ended="2026-11-20T00:00:00+00:00")
    write_run(tmp_path / "out", [ok("/a", 1, 0.5)], run_id="a", ended="2026-11-21T00:00:00+00:00")
    (tmp_path / "out" / "_sparkq" / ".a.json.crc").write_bytes(b"of Hadoop's")
    (tmp_path / "out" / "_sparkq" / "staging").mkdir()
    for output in (str(tmp_path / "out"), f"file://{tmp_path}/out", f"file:{tmp_path}/out/"):
        assert find_run(output).run_id == "a"
        assert measure_rows(find_run(output, "z")).rows == 1


def test_no_run(tmp_path: Path) -> None:
    """A folder that is not there, and one that is not sparkq's."""
    with pytest.raises(InputError, match="got nothing there"):
        find_run(str(tmp_path / "absent"))
    (tmp_path / "part-0.parquet").write_bytes(b"")
    with pytest.raises(InputError, match="got a folder without any") as caught:
        find_run(str(tmp_path))
    assert caught.value.hint is not None and "--output" in caught.value.hint


def test_unknown_run(tmp_path: Path) -> None:
    """Those that are there are named, at most ten of them."""
    for number in range(12):
        write_run(tmp_path, [], run_id=f"run{number:02d}")
    with pytest.raises(InputError, match="expected run absent; got 2 older, run02, run03, .*, run11"):
        find_run(str(tmp_path), "absent")
    with pytest.raises(ConfigError):
        find_run(str(tmp_path), "../run01")


@pytest.mark.parametrize(("content", "got"), [
    ("not JSON", "something else"), ("[]", "something else"), (json.dumps({"run_id": "r1"}), "something else"),
    (json.dumps({"run_id": "r1", "files": []}), "one without a number"),
    (json.dumps({"run_id": "r1", "files": [], "protocol": 2}), "protocol 2"),
])
def test_no_manifest(tmp_path: Path, content: str, got: str) -> None:
    """The sentence names the file, what is read, what was found, and what to do."""
    write_run(tmp_path, [])
    (tmp_path / "_sparkq" / "r1.json").write_text(content)
    with pytest.raises(InputError, match=f"_sparkq/r1.json: expected a run manifest of sparkq, protocol 1; got {got}") as caught:
        find_run(str(tmp_path))
    assert caught.value.hint is not None and "sparkq predict" in caught.value.hint


@pytest.mark.parametrize("damage", ["deleted", "cut"])
def test_files_that_are_not_as_they_were(tmp_path: Path, damage: str) -> None:
    """A report of what is left would look right."""
    write_run(tmp_path, [ok("/a", 1, 0.5)] * 20, files=2)
    file = tmp_path / "run_id=r1" / "part-1.parquet"
    data = file.read_bytes()
    file.unlink()
    if damage == "cut":
        file.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="expected the Parquet files that its manifest lists"):
        measure_rows(find_run(str(tmp_path)))


def test_rows_that_the_manifest_does_not_tell_of(tmp_path: Path) -> None:
    write_run(tmp_path, [ok("/a", 1, 0.5)] * 20, rows=21)
    with pytest.raises(InputError, match="expected 21 rows, as its manifest says; got 20"):
        measure_rows(find_run(str(tmp_path)))


def test_a_file_that_no_manifest_lists_does_not_exist(tmp_path: Path) -> None:
    """On object stores an attempt that was killed may have left some."""
    write_run(tmp_path, [ok("/a", 1, 0.5)] * 3)
    listed = tmp_path / "run_id=r1" / "part-0.parquet"
    listed.with_name("part-9.parquet").write_bytes(listed.read_bytes())
    assert measure_rows(find_run(str(tmp_path))).rows == 3
