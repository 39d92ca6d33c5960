"""The commit of a run: one attempt wins, whole, whoever else computes it and wherever one is killed."""
from __future__ import annotations

import dataclasses
import itertools
import json
import re
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from sparkq.errors import ConfigError, InputError, RunTakenError
from sparkq.runs.manifest import RunFile, RunManifest
from sparkq.spark.input.sources import read_images
from sparkq.spark.output import commit as commit_module
from sparkq.spark.output.commit import Attempt, abandon, commit, new_run_id, output_folder, start_attempt
from sparkq.spark.output.committed import committed_run, committed_runs, require_files
from sparkq.spark.output.overwrite import remove_earlier_runs
from sparkq.spark.session import hadoop
from sparkq.spark.session.hadoop import HadoopFolder
from tests.spark.local import assert_clear

_CLOCK = itertools.count()


@pytest.fixture(params=["local", "hadoop", "objects"])
def store(request: pytest.FixtureRequest, spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where the output is, in Spark's words: by system calls, by Hadoop's own (as HDFS is), or as on an object store.

    The second is Hadoop's viewfs over the local disk; the third the local disk, of which sparkq is told that it renames nothing
    in one step.
    """
    if request.param == "hadoop":
        configuration: Any = spark.sparkContext._jsc.hadoopConfiguration()  # type: ignore[attr-defined]
        host = f"h{zlib.crc32(str(tmp_path).encode())}"
        configuration.set(f"fs.viewfs.mounttable.{host}.link./data", f"file://{tmp_path}")
        return f"viewfs://{host}/data/out"
    if request.param == "objects":
        monkeypatch.setattr(hadoop, "_ATOMIC_RENAME", ())
        monkeypatch.setattr(hadoop, "_SETTLE_SECONDS", 0.0)
    return f"file://{tmp_path}/out"


@pytest.fixture
def folder(spark: SparkSession, store: str) -> HadoopFolder:
    """The output."""
    return HadoopFolder(spark, store)


def staged(folder: HadoopFolder, run_id: str = "nightly") -> tuple[Attempt, RunManifest]:
    """An attempt with two finished files, named as Spark names them: differently in each attempt."""
    attempt = start_attempt(folder, run_id)
    names = [f"part-0-{attempt.name}.parquet", f"label=3/part-1-{attempt.name}.parquet"]
    for name in names:
        folder.write(f"{attempt.staging}/tasks/{name}", rows_of(attempt))
    return attempt, manifest_of(attempt, [f"run_id={run_id}/{name}" for name in names], ended=f"{next(_CLOCK):09d}")


def rows_of(attempt: Attempt) -> bytes:
    """What stands in its files."""
    return f"rows of {attempt.name}".encode()


def manifest_of(attempt: Attempt, paths: list[str], *, ended: str = "now") -> RunManifest:
    """The manifest of an attempt that wrote these files."""
    return RunManifest(
        run_id=attempt.run_id, attempt=attempt.name, rows=0, ok=0, errors=0, error_codes={}, engine={}, model_digests=(),
        seconds=1.0, images_per_second=0.0, started="before", ended=ended, versions={}, partition_by=(),
        schema={"type": "struct", "fields": []}, output="out",
        files=tuple(RunFile(path, len(rows_of(attempt))) for path in paths),
    )


def seen(output: Path) -> set[str]:
    """What a reader of Parquet sees: files of which no part of the path begins with ``_`` or a dot."""
    found = {path.relative_to(output) for path in output.rglob("*") if path.is_file()}
    return {str(path) for path in found if not any(part.startswith(("_", ".")) for part in path.parts)}


def listed(folder: HadoopFolder, output: Path) -> set[str]:
    """What the manifests list; all of it is there."""
    names = {file.path for run in committed_runs(folder) for file in run.files}
    assert all((output / name).is_file() for name in names)
    return names


def test_a_committed_run_is_its_manifest_and_its_files(folder: HadoopFolder, tmp_path: Path) -> None:
    """And nothing of the staging folder; before the commit there is nothing to be seen."""
    output = tmp_path / "out"
    attempt, manifest = staged(folder)
    assert (seen(output), committed_runs(folder)) == (set(), [])
    commit(attempt, "tasks", manifest)
    assert seen(output) == listed(folder, output) == {file.path for file in manifest.files}
    assert committed_run(folder, "nightly") == manifest
    assert json.loads((output / "_sparkq" / "nightly.json").read_text()) == manifest.to_mapping()
    assert {path.name for path in (output / "_sparkq").glob("[!.]*")} == {"nightly.json"}
    assert not list(output.rglob("*.tmp"))


def test_of_two_attempts_the_first_to_commit_wins(folder: HadoopFolder, tmp_path: Path) -> None:
    """The other one is told so, and nothing of it is left."""
    output = tmp_path / "out"
    (late, late_manifest), (first, manifest) = staged(folder), staged(folder)
    commit(first, "tasks", manifest)
    with pytest.raises(RunTakenError) as caught:
        commit(late, "tasks", late_manifest)
    abandon(late)
    assert_clear(caught.value, "nightly", "its result stands", "Hint: ")
    assert seen(output) == listed(folder, output) == {file.path for file in manifest.files}
    assert {path.name for path in (output / "_sparkq").glob("[!.]*")} == {"nightly.json"}


def test_attempts_that_pass_the_first_check_together(
    folder: HadoopFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both have seen no manifest; the second to move its files is refused by the filesystem itself."""
    (late, late_manifest), (first, manifest) = staged(folder), staged(folder)

    class Overtaken(HadoopFolder):
        """The other attempt commits just before this one's files are moved into place."""

        def _overtake(self) -> None:
            if committed_run(folder, "nightly") is None:
                commit(first, "tasks", manifest)

        def move_folder(self, source: str, target: str) -> bool:
            self._overtake()
            return super().move_folder(source, target)

        def write_if_absent(self, path: str, data: bytes) -> bool:
            self._overtake()
            return super().write_if_absent(path, data)

    overtaken = Attempt(Overtaken(folder.spark, folder.location), "nightly", late.name, False)
    # What commits first deletes what others stage: kept here, so that nothing but the commit itself stops the other one.
    kept = HadoopFolder.delete
    monkeypatch.setattr(
        HadoopFolder, "delete", lambda self, path: None if path == "_sparkq/staging/nightly" else kept(self, path),
    )
    with pytest.raises(RunTakenError):
        commit(overtaken, "tasks", late_manifest)
    assert seen(tmp_path / "out") == listed(folder, tmp_path / "out") == {file.path for file in manifest.files}


@pytest.mark.parametrize("how", ["all", "one", "shorter"])
@pytest.mark.parametrize("when", ["staged", "committing"])
def test_a_run_whose_files_are_gone_is_none(
    folder: HadoopFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str, how: str,
) -> None:
    """Somebody cleans the output, before the commit or in the midst of it: an error, and nothing that looks like a run."""
    output = tmp_path / "out"
    attempt, manifest = staged(folder)

    def clean() -> None:
        files = [path for path in output.rglob("part-*.parquet") if path.is_file()]
        if how == "all":
            shutil.rmtree(output)
        elif how == "one":
            files[0].unlink()
        else:
            files[0].write_bytes(b"")
            # Else Hadoop's local filesystem says that the file is damaged, before its length is looked at.
            files[0].with_name(f".{files[0].name}.crc").unlink(missing_ok=True)

    if when == "staged":
        clean()
    else:
        kept = commit_module.require_files
        monkeypatch.setattr(commit_module, "require_files", lambda *arguments: (clean(), kept(*arguments)))
    with pytest.raises(InputError) as caught:
        commit(attempt, "tasks", manifest)
    abandon(attempt)
    assert not isinstance(caught.value, RunTakenError)
    assert_clear(caught.value, "nightly", "expected", "got", "Hint: ")
    assert (seen(output), committed_runs(folder)) == (set(), [])


def test_a_committed_run_whose_files_are_gone(folder: HadoopFolder, tmp_path: Path) -> None:
    """Said by whoever is asked for it again, with what is missing; the manifest is not theirs to delete."""
    attempt, manifest = staged(folder)
    commit(attempt, "tasks", manifest)
    require_files(folder, manifest)
    gone = manifest.files[1].path
    (tmp_path / "out" / gone).unlink()
    with pytest.raises(InputError) as caught:
        require_files(folder, manifest)
    assert_clear(caught.value, "nightly", "2 files", f"1 of them otherwise: {gone} is missing", "Hint: ")
    assert committed_run(folder, "nightly") == manifest


def test_a_run_that_was_overwritten_while_it_was_committed(folder: HadoopFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files are gone because they may be: no error, and the other run stands."""
    (first, manifest), (second, other) = staged(folder, "first"), staged(folder, "second")
    other = dataclasses.replace(other, settings={"overwrite": True})
    kept = commit_module.require_files

    def overtaken(where: HadoopFolder, checked: RunManifest) -> None:
        monkeypatch.setattr(commit_module, "require_files", kept)
        commit(second, "tasks", other)
        remove_earlier_runs(second.folder, other)
        kept(where, checked)

    monkeypatch.setattr(commit_module, "require_files", overtaken)
    commit(first, "tasks", manifest)
    remove_earlier_runs(first.folder, manifest)
    assert committed_runs(folder) == [other]


def test_where_two_may_both_succeed_it_is_said(folder: HadoopFolder, caplog: pytest.LogCaptureFixture) -> None:
    """Before the work, with the cure: where no condition guards the manifest; silence where one does."""
    start_attempt(folder, "nightly")
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(told) == (not folder.renames_atomically)
    assert all(folder.location in text and "may both report success" in text and "Hadoop 3.4.2" in text for text in told)


class Killed(BaseException):
    """The process is gone: nothing of it runs any more."""


class Mortal(HadoopFolder):
    """A folder whose user is killed before its `life`-th change."""

    life = 0

    def _spend(self) -> None:
        self.life -= 1
        if self.life < 0:
            raise Killed


def _mortal(name: str) -> Callable[..., Any]:
    def method(self: Mortal, *arguments: Any) -> Any:
        self._spend()
        return getattr(HadoopFolder, name)(self, *arguments)

    return method


for _name in ("write", "write_if_absent", "move_folder", "move_file", "delete", "delete_if_empty"):
    setattr(Mortal, _name, _mortal(_name))


def test_killed_before_any_change_of_the_commit(folder: HadoopFolder, tmp_path: Path) -> None:
    """Whatever was the last thing that the first attempt did, the second ends with exactly one whole result."""
    output = tmp_path / "out"
    outcomes = []
    for life in range(20):
        run_id = f"run{life}"
        first, first_manifest = staged(folder, run_id)
        mortal = Mortal(folder.spark, folder.location)
        mortal.life = life
        try:
            commit(Attempt(mortal, run_id, first.name, False), "tasks", first_manifest)
            survived = True
        except Killed:
            survived = False
        before = listed(folder, output)
        second, second_manifest = staged(folder, run_id)
        try:
            commit(second, "tasks", second_manifest)
            winner = second_manifest
        except RunTakenError:
            abandon(second)
            winner = first_manifest
        stands = committed_run(folder, run_id)
        assert stands == winner
        # What was visible once stays so, and what is visible is whole.
        assert before <= listed(folder, output)
        if folder.renames_atomically:
            assert seen(output) == listed(folder, output)
        outcomes.append(winner is first_manifest)
        if survived:
            break
    assert survived and outcomes[-1] and not outcomes[0]
    assert outcomes == sorted(outcomes)


def test_who_died_after_its_files_were_moved_is_listed_by_the_next(folder: HadoopFolder, tmp_path: Path) -> None:
    """Of whatever run id; on an object store its files stay unlisted, and nobody reads them."""
    attempt, manifest = staged(folder)
    commit(attempt, "tasks", manifest)
    (tmp_path / "out" / "_sparkq" / "nightly.json").unlink()
    assert committed_runs(folder) == []
    start_attempt(folder, "another")
    assert committed_runs(folder) == ([manifest] if folder.renames_atomically else [])


def test_attempts_that_died_long_ago_are_swept(folder: HadoopFolder, tmp_path: Path) -> None:
    """With the next commit of any run; one that may be at work is left alone, unless its run id was committed."""
    dead = tmp_path / "out" / "_sparkq" / "staging" / "old" / "20200101T000000Z-01234567" / "tasks"
    dead.mkdir(parents=True)
    (dead / "part").touch()
    alive, _ = staged(folder, "other")
    attempt, manifest = staged(folder)
    commit(attempt, "tasks", manifest)
    assert {path.name for path in (tmp_path / "out" / "_sparkq" / "staging").iterdir()} == {"other"}
    assert folder.exists(f"{alive.staging}/tasks")


def test_abandon_leaves_what_was_there(folder: HadoopFolder, tmp_path: Path) -> None:
    """A folder that it made goes, one that it found stays."""
    attempt, _ = staged(folder)
    abandon(attempt)
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    attempt, _ = staged(folder)
    abandon(attempt)
    assert (tmp_path / "out").is_dir() and seen(tmp_path / "out") == set()


def committed_three(folder: HadoopFolder) -> list[tuple[Attempt, RunManifest]]:
    """Three runs, committed in this order by jobs that overwrite."""
    runs = []
    for run_id in ("first", "second", "third"):
        attempt, manifest = staged(folder, run_id)
        runs.append((attempt, dataclasses.replace(manifest, settings={"overwrite": True})))
        commit(attempt, "tasks", runs[-1][1])
    return runs


def test_remove_earlier_runs(folder: HadoopFolder, tmp_path: Path) -> None:
    """Manifests and files of those that were committed before, and of one that this version cannot read."""
    runs = committed_three(folder)
    folder.write("_sparkq/old.json", b"{}")
    remove_earlier_runs(folder, runs[2][1])
    start_attempt(folder, "fourth")
    assert [run.run_id for run in committed_runs(folder)] == ["third"]
    assert {name.partition("/")[0] for name in seen(tmp_path / "out")} == {"run_id=third"}


@pytest.mark.parametrize("order", [(1, 2), (2, 1)], ids=["first_removes_first", "last_removes_first"])
def test_of_two_that_overwrite_at_once_the_last_remains(folder: HadoopFolder, tmp_path: Path, order: tuple[int, int]) -> None:
    """Both are committed before either removes anything; whichever comes first, one is left, whole."""
    runs = committed_three(folder)
    for number in order:
        remove_earlier_runs(folder, runs[number][1])
    assert [run.run_id for run in committed_runs(folder)] == ["third"]
    assert {name.partition("/")[0] for name in seen(tmp_path / "out")} == {"run_id=third"}
    assert seen(tmp_path / "out") == listed(folder, tmp_path / "out")


@pytest.mark.parametrize("kind", ["file", "folder_with_a_file", "folder_with_a_folder"])
def test_what_sparkq_did_not_write_is_left_alone(spark: SparkSession, tmp_path: Path, kind: str) -> None:
    """Refused before anything runs."""
    output = tmp_path / "out"
    if kind == "file":
        output.write_text("mine")
    elif kind == "folder_with_a_file":
        output.mkdir()
        (output / "part.parquet").write_text("mine")
    else:
        (output / "photos").mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError) as caught:
        start_attempt(output_folder(spark, str(output)), "nightly")
    assert_clear(caught.value, str(output), "runs of sparkq", "Hint: choose another")
    assert sorted(tmp_path.rglob("*")) == before


def test_files_that_no_manifest_lists(spark: SparkSession, tmp_path: Path) -> None:
    """Half of a run that somebody deleted, say: whoever computes it again shall know before, not after."""
    (tmp_path / "run_id=nightly").mkdir()
    start_attempt(output_folder(spark, str(tmp_path)), "nightly")
    (tmp_path / "run_id=nightly" / "part.parquet").touch()
    start_attempt(output_folder(spark, str(tmp_path)), "another")
    with pytest.raises(InputError) as caught:
        start_attempt(output_folder(spark, str(tmp_path)), "nightly")
    assert_clear(caught.value, "run_id=nightly", "no manifest lists", "Hint: delete")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"rows": 3}'], ids=["empty", "broken", "list", "of_an_earlier_version"])
def test_manifests_that_are_none(spark: SparkSession, tmp_path: Path, data: bytes) -> None:
    """Said, not skipped: else an image would be predicted twice."""
    (tmp_path / "_sparkq").mkdir()
    (tmp_path / "_sparkq" / "nightly.json").write_bytes(data)
    with pytest.raises(InputError) as caught:
        committed_runs(output_folder(spark, str(tmp_path)))
    assert_clear(caught.value, "nightly.json", "expected a run manifest", "Hint: ")


def test_a_place_that_takes_none(spark: SparkSession, tmp_path: Path) -> None:
    """One sentence that names it."""
    (tmp_path / "_sparkq").write_text("a file where the folder should be")
    with pytest.raises(InputError) as caught:
        staged(output_folder(spark, str(tmp_path)))
    assert_clear(caught.value, "_sparkq", "expected a writable place")


def test_readers_do_not_see_what_is_not_a_row(spark: SparkSession, tmp_path: Path) -> None:
    """Neither Spark nor pyarrow nor our own reader; a name with a space is one."""
    folder = output_folder(spark, str(tmp_path / "out put"))
    attempt = start_attempt(folder, "nightly")
    spark.sql("SELECT 1 AS label, CAST('bytes' AS binary) AS content").write.parquet(folder.at(f"{attempt.staging}/tasks"))
    commit(attempt, "tasks", manifest_of(attempt, []))
    staged(folder, "unfinished")
    assert spark.read.parquet(str(tmp_path / "out put")).count() == 1
    assert pq.read_table(tmp_path / "out put").num_rows == 1
    assert read_images(spark, str(tmp_path / "out put"), input_format="parquet").columns == ["label", "content", "run_id"]


@pytest.mark.parametrize("run_id", ["", ".hidden", "_hidden", "a/b", "../up", "2026-11-21T10:00:00", "a b", "x" * 201, "run=1"])
def test_run_ids_that_no_folder_can_have(spark: SparkSession, tmp_path: Path, run_id: str) -> None:
    """HDFS takes no colon, and Airflow's logical dates have some."""
    with pytest.raises(ConfigError) as caught:
        start_attempt(output_folder(spark, str(tmp_path)), run_id)
    assert_clear(caught.value, "run_id", "Hint: ")


def test_run_ids_sort_by_time_and_differ() -> None:
    identities = [new_run_id() for _ in range(50)]
    assert len(set(identities)) == 50
    assert all(re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{8}", identity) for identity in identities)
    assert [identity[:16] for identity in identities] == sorted(identity[:16] for identity in identities)
