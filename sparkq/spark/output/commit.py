"""Runs: where an attempt writes, how its result becomes visible, and what is there already.

::

    OUTPUT/run_id=ID/[COLUMN=VALUE/]part-*.parquet      rows of run ID
    OUTPUT/run_id=ID/_manifest.json                     the manifest again, moved here with the files
    OUTPUT/_sparkq/ID.json                              the run manifest, written last
    OUTPUT/_sparkq/staging/ID/ATTEMPT/                  what one attempt writes until it commits

Readers of Parquet (Spark, pyarrow, Hive) take no notice of names that begin with ``_``. These hold at every moment,
whoever is killed, and however many attempts of one run id there are:

1. A run is what its manifest ``_sparkq/ID.json`` lists. No manifest, no run: `sparkq.read_predictions` reads listed files only.
2. A manifest lists files of one attempt, complete before it was written, and never changed after.
3. An attempt writes, and deletes when it fails, only under its own staging folder. What is committed is removed by nobody but
   ``--overwrite``, after its own commit.
4. One attempt of a run id commits. There is no lock, so that a dead attempt blocks nobody: all may compute, and the commit
   decides. Where folders are renamed in one step (local, HDFS) the rename to ``run_id=ID`` is refused to all but the first;
   whoever finds a ``run_id=ID`` that its attempt did not live to list, writes its manifest for it, from ``_manifest.json``.
   So other readers, too, see whole runs only. On object stores files are copied to names that no other attempt uses, then
   the manifest is created where there is none. If the store's connector cannot do that in one step, the last of two
   manifests written at the same moment stands, and (1) and (2) hold; an attempt reads it back to know whether it won.
   Only there may files that no manifest lists stay in ``run_id=ID``, if an attempt is killed between copy and manifest:
   on object stores read with `sparkq.read_predictions`.
5. Who commits deletes the staging folders of its run id, which ends what other attempts still compute in vain, and those
   of dead attempts of other runs after seven days.
"""
from __future__ import annotations

import contextlib
import datetime
import os
import secrets
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from pyspark.sql import SparkSession

from sparkq.config import check_run_id
from sparkq.errors import InputError, RunTakenError
from sparkq.runs.layout import (
    MOVED_MANIFEST,
    RUNS,
    STAGING,
    committed_ids,
    is_hidden,
    manifest_path,
    run_folder,
    run_id_of,
    staging_folder,
)
from sparkq.runs.manifest import RunManifest
from sparkq.spark.input.paths import spark_path
from sparkq.spark.session.hadoop import HadoopFolder
from sparkq.storage import local_path

__all__ = [
    "Attempt", "abandon", "abandon_locally", "commit", "committed_run", "committed_runs", "new_run_id", "output_folder",
    "remove_earlier_runs", "run_taken", "start_attempt",
]

_ID_FORMAT = "%Y%m%dT%H%M%SZ"
_READS_AT_ONCE = 16
_STALE = datetime.timedelta(days=7)


@dataclass(frozen=True)
class Attempt:
    """One process that computes a run.

    Parameters
    ----------
    folder : HadoopFolder
        The output.
    run_id, name : str
        Of the run, and of this attempt alone.
    made_output : bool
        Whether the output folder was not there before.
    """

    folder: HadoopFolder
    run_id: str
    name: str
    made_output: bool

    @property
    def staging(self) -> str:
        """The attempt's own folder, relative to the output."""
        return staging_folder(self.run_id, self.name)


def new_run_id() -> str:
    """Now in UTC, and a suffix that two runs of one second do not share."""
    return f"{datetime.datetime.now(datetime.timezone.utc):{_ID_FORMAT}}-{secrets.token_hex(4)}"


def output_folder(spark: SparkSession, output: str) -> HadoopFolder:
    """The folder of an output, path or uri, whether or not it exists."""
    return HadoopFolder(spark, spark_path(output))


def start_attempt(folder: HadoopFolder, run_id: str) -> Attempt:
    """Begin to compute a run: lists what earlier attempts did not live to list, writes nothing of its own yet.

    Raises
    ------
    ConfigError
        If `run_id` cannot name a folder.
    InputError
        If the output holds what sparkq did not write.
    """
    check_run_id(run_id)
    entries = folder.entries()
    foreign = [entry for entry in entries if not _is_ours(entry.path, is_folder=entry.is_folder)]
    if foreign:
        raise InputError(
            f"output {folder.location}: expected a folder that does not exist, is empty or holds runs of sparkq; got "
            f"{foreign[0].path or 'a file'} there.",
            hint="choose another.",
        )
    # One listing, not a question for each run: there may be hundreds, and an object store takes its time.
    moved = {run_id_of(entry.path) for entry in entries} - {None, *_listed_ids(folder)}
    for unlisted in filter(None, moved):
        _list_moved(folder, unlisted)
    _require_listed(folder, run_id)
    return Attempt(folder, run_id, new_run_id(), made_output=not folder.exists())


def _is_ours(name: str, *, is_folder: bool) -> bool:
    return is_hidden(name) or (is_folder and run_id_of(name) is not None)


def _require_listed(folder: HadoopFolder, run_id: str) -> None:
    """Refuse files that no manifest lists, where only whole runs are moved into place: their origin is unknown."""
    if not folder.renames_atomically or not folder.entries(run_folder(run_id)):
        return
    _list_moved(folder, run_id)
    if not folder.exists(manifest_path(run_id)):
        raise InputError(
            f"{folder.at(run_folder(run_id))}: expected nothing there yet; got files that no manifest lists.",
            hint="delete that folder, or choose another run id.",
        )


def committed_run(folder: HadoopFolder, run_id: str) -> RunManifest | None:
    """The manifest of a committed run, or None. Raises `InputError` if it is no manifest that this version reads."""
    data = folder.read(manifest_path(run_id))
    return None if data is None else RunManifest.loads(data, place=folder.at(manifest_path(run_id)))


def committed_runs(folder: HadoopFolder) -> list[RunManifest]:
    """The manifests of all committed runs, in the order of their commits."""
    with ThreadPoolExecutor(_READS_AT_ONCE) as pool:
        read = pool.map(partial(committed_run, folder), _listed_ids(folder))
        manifests = [manifest for manifest in read if manifest is not None]
    return sorted(manifests, key=lambda manifest: (manifest.ended, manifest.run_id))


def _listed_ids(folder: HadoopFolder) -> list[str]:
    return committed_ids(entry.path.rpartition("/")[2] for entry in folder.entries(RUNS) if not entry.is_folder)


def commit(attempt: Attempt, staged: str, manifest: RunManifest) -> None:
    """Make an attempt's result the run's; afterwards it is there, whole, or another attempt's is.

    Parameters
    ----------
    attempt : Attempt
        Nothing of it is left in its staging folder afterwards.
    staged : str
        Folder in its staging folder with the Parquet files, none of which is written to any more.
    manifest : RunManifest
        Its ``files`` name the files as they will be called.

    Raises
    ------
    RunTakenError
        If another attempt of the same run id has committed it: the work is done.
    InputError
        If the output cannot be written.
    """
    folder, run_id = attempt.folder, attempt.run_id
    data = manifest.dumps()
    if committed_run(folder, run_id) is not None:
        raise run_taken(attempt)
    if folder.renames_atomically:
        folder.write(f"{attempt.staging}/{staged}/{MOVED_MANIFEST}", data)
        moved = folder.move_folder(f"{attempt.staging}/{staged}", run_folder(run_id))
        _require_listed(folder, run_id)
        if not moved:
            raise run_taken(attempt)
    else:
        _commit_copies(attempt, staged, data)
    folder.delete(f"{STAGING}/{run_id}")
    _sweep(folder)


def run_taken(attempt: Attempt) -> RunTakenError:
    """Make the error of an attempt that came too late."""
    return RunTakenError(
        f"run {attempt.run_id}: expected to commit it to {attempt.folder.location}; another attempt of the same run id was "
        "first, and its result stands.",
        hint="nothing is lost and nothing is to be done: the run is complete.",
    )


def _list_moved(folder: HadoopFolder, run_id: str) -> None:
    """Write the manifest of a run whose files were moved into place, if that was not done."""
    if folder.exists(manifest_path(run_id)):
        return
    data = folder.read(f"{run_folder(run_id)}/{MOVED_MANIFEST}")
    if data is not None:
        folder.write(manifest_path(run_id), data)


def _commit_copies(attempt: Attempt, staged: str, data: bytes) -> None:
    folder, run_id = attempt.folder, attempt.run_id
    source = f"{attempt.staging}/{staged}/"
    moved = []
    for entry in folder.files(source.rstrip("/")):
        moved.append(f"{run_folder(run_id)}/{entry.path.removeprefix(source)}")
        folder.move_file(entry.path, moved[-1])
    folder.write_if_absent(manifest_path(run_id), data)
    # Not whether it was absent: a client whose answer was lost tries again, and finds its own.
    stands = committed_run(folder, run_id)
    if stands is None or stands.attempt != attempt.name:
        for path in moved:
            folder.delete(path)
        raise run_taken(attempt)


def _sweep(folder: HadoopFolder) -> None:
    """Delete what attempts that died long ago have staged."""
    oldest = f"{datetime.datetime.now(datetime.timezone.utc) - _STALE:{_ID_FORMAT}}"
    for run in folder.entries(STAGING):
        for attempt in folder.entries(run.path):
            # The name of an attempt begins with its start.
            if attempt.path.rpartition("/")[2] < oldest:
                folder.delete(attempt.path)
        folder.delete_if_empty(run.path)
    folder.delete_if_empty(STAGING)


def abandon(attempt: Attempt) -> None:
    """Delete what an attempt staged, and the folders that it alone made."""
    folder = attempt.folder
    folder.delete(attempt.staging)
    for path in (f"{STAGING}/{attempt.run_id}", STAGING, RUNS):
        folder.delete_if_empty(path)
    if attempt.made_output:
        folder.delete_if_empty("")


def abandon_locally(attempt: Attempt) -> None:
    """Delete what an attempt staged on a local disk without the JVM, which has died."""
    path_bytes = local_path(attempt.folder.location)
    if path_bytes is None:
        return
    location = os.fsdecode(path_bytes)
    shutil.rmtree(os.path.join(location, attempt.staging), ignore_errors=True)
    for path in (f"{STAGING}/{attempt.run_id}", STAGING, RUNS, *([""] if attempt.made_output else [])):
        with contextlib.suppress(OSError):
            os.rmdir(os.path.join(location, path))


def remove_earlier_runs(attempt: Attempt, manifest: RunManifest) -> None:
    """Delete the runs that ended before the attempt's own, which is committed; readers that are at work on them fail.

    Of two that overwrite each other at once the one that ended last remains: the other finds it when it is committed itself,
    and goes, as if it had been overwritten a moment later.
    """
    folder, own = attempt.folder, (manifest.ended, manifest.run_id)
    others = [(run_id, _readable(folder, run_id)) for run_id in _listed_ids(folder) if run_id != attempt.run_id]
    for run_id, other in others:
        # One that this version cannot read was written by another, before.
        if other is None or (other.ended, other.run_id) < own:
            _remove(folder, run_id)
    if any(other and other.settings.get("overwrite") and (other.ended, other.run_id) > own for _, other in others):
        _remove(folder, attempt.run_id)


def _readable(folder: HadoopFolder, run_id: str) -> RunManifest | None:
    with contextlib.suppress(InputError):
        return committed_run(folder, run_id)
    return None


def _remove(folder: HadoopFolder, run_id: str) -> None:
    # In this order: without the moved one nobody can list the run again.
    folder.delete(f"{run_folder(run_id)}/{MOVED_MANIFEST}")
    folder.delete(manifest_path(run_id))
    folder.delete(run_folder(run_id))
