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
   the manifest is created where there is none, and read back to know who won. That is one step on S3 (S3A of Hadoop 3.3 by
   a request of its SDK, since 3.4.2 by itself), Google's and Azure's store. Elsewhere (S3A of Hadoop 3.4.0 and 3.4.1, EMRFS,
   stores that take no notice of ``If-None-Match``) an attempt looks just before it writes, and again two seconds after: of
   two that write within that time the last one wins; if one halts for longer between its look and its write, **both may
   answer success**, of which the later one stands, and the other's files stay beside it, unlisted. (1) and (2) hold even
   then, and a warning says so: before the work, or where a store refuses the condition (501), at the commit. On all object
   stores files that no manifest lists may stay in ``run_id=ID``, if an attempt is killed between copy and manifest: read
   with `sparkq.read_predictions` there.
5. Who commits deletes the staging folders of its run id, which ends what other attempts still compute in vain, and those
   of dead attempts of other runs after seven days.
6. Whoever says that a run is committed has seen its files, with the lengths that the manifest lists, after the manifest
   was written. If they are not there (somebody deleted the output meanwhile) the manifest goes, too, and it is an error.
"""
from __future__ import annotations

import contextlib
import datetime
import os
import secrets
import shutil
from dataclasses import dataclass

from pyspark.sql import SparkSession

from sparkq.config import check_run_id
from sparkq.errors import InputError, RunTakenError
from sparkq.redaction import get_logger
from sparkq.runs.layout import MOVED_MANIFEST, RUNS, STAGING, is_hidden, manifest_path, run_folder, run_id_of, staging_folder
from sparkq.runs.manifest import RunManifest
from sparkq.spark.input.paths import spark_path
from sparkq.spark.output.committed import committed_run, listed_ids, readable_run, require_files
from sparkq.spark.output.overwrite import is_overwritten, remove_run
from sparkq.spark.session.conditional_create import UNCONDITIONAL
from sparkq.spark.session.hadoop import HadoopFolder
from sparkq.storage import local_path

__all__ = ["Attempt", "abandon", "abandon_locally", "commit", "new_run_id", "output_folder", "run_taken", "start_attempt"]

_logger = get_logger(__name__)
_ID_FORMAT = "%Y%m%dT%H%M%SZ"
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
    moved = {run_id_of(entry.path) for entry in entries} - {None, *listed_ids(folder)}
    for unlisted in filter(None, moved):
        _list_moved(folder, unlisted)
    _require_listed(folder, run_id)
    if not (folder.renames_atomically or folder.creates_conditionally):
        _logger.warning(UNCONDITIONAL, folder.location)
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
        If the output cannot be written, or what was written is not there afterwards.
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
    _require_there(attempt, manifest)
    folder.delete(f"{STAGING}/{run_id}")
    _sweep(folder)


def _require_there(attempt: Attempt, manifest: RunManifest) -> None:
    """Take the run back if its files are not there, unless a job that overwrites has removed it meanwhile, as it may."""
    folder, run_id = attempt.folder, attempt.run_id
    try:
        require_files(folder, manifest)
    except InputError as error:
        stands = folder.exists(manifest_path(run_id))
        if not stands and is_overwritten(manifest, [readable_run(folder, other) for other in listed_ids(folder)]):
            return
        remove_run(folder, run_id)
        raise InputError(
            f"{error.message} Somebody deleted or changed them while the run was committed: nothing of it counts.",
            hint="find out who writes to or cleans this folder, and run it again.",
        ) from error


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
