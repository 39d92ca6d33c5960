"""Predictions to Parquet, and what was really committed."""
from __future__ import annotations

import datetime
import math
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import pyspark
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import BooleanType, ByteType, DateType, IntegerType, LongType, ShortType, StringType, StructType

from sparkq.errors import InputError, SparkqError
from sparkq.host import package_version
from sparkq.planning.partitions import FILE_BYTES
from sparkq.runs.layout import run_folder
from sparkq.runs.manifest import RunFile, RunManifest
from sparkq.spark.output.commit import (
    Attempt,
    abandon,
    abandon_locally,
    commit,
    new_run_id,
    output_folder,
    run_taken,
    start_attempt,
)
from sparkq.spark.output.committed import committed_run, require_files
from sparkq.spark.output.counts import RowCounts, counted_columns
from sparkq.spark.output.overwrite import remove_earlier_runs
from sparkq.spark.output.strict_read import read_strictly
from sparkq.spark.output.task_times import task_times
from sparkq.spark.session.actions import run_action
from sparkq.spark.session.failures import write_failure
from sparkq.spark.session.hadoop import FolderEntry
from sparkq.storage import shown
from sparkq.version import __version__

__all__ = ["WrittenPredictions", "check_partition_columns", "write_attempt", "write_predictions", "written_by"]

_PARTITION_TYPES = (StringType, IntegerType, LongType, ShortType, ByteType, BooleanType, DateType)


@dataclass(frozen=True)
class WrittenPredictions:
    """The rows and files that a run wrote, counted from its committed files.

    Parameters
    ----------
    run_id : str
        Of the run.
    rows, ok, errors : int
        Rows in all, and by status.
    error_codes : dict of str to int
        Rows a code.
    engines : dict of str to int
        Rows an engine.
    seconds : float
        From the start of the write to its commit.
    files, bytes : int
        How many Parquet files, and how large in all.
    warnings : tuple of str
        Reasons why the rows may be worth nothing, such as one label for all of them.
    """

    run_id: str
    rows: int
    ok: int
    errors: int
    error_codes: dict[str, int]
    engines: dict[str, int]
    seconds: float
    files: int
    bytes: int
    warnings: tuple[str, ...] = ()

    @property
    def images_per_second(self) -> float:
        """Rows over seconds."""
        return self.rows / self.seconds if self.seconds else 0.0


def write_predictions(
    predictions: DataFrame, output: str, *, run_id: str | None = None, partition_by: Sequence[str] = (), overwrite: bool = False,
) -> WrittenPredictions:
    """Run a lazy `predict` and write it as one run of an output.

    ``OUTPUT/run_id=ID/`` gets the rows, ``OUTPUT/_sparkq/ID.json`` the manifest that makes them visible to
    `sparkq.read_predictions`. If it fails or is killed, nothing is there to be seen.

    Parameters
    ----------
    predictions : DataFrame
        From `sparkq.predict`.
    output : str
        Folder, path or uri; new, empty, or with earlier runs.
    run_id : str, optional
        The same id is the same run: one that is committed already is not computed again. Default: a new one.
    partition_by : sequence of str
        Columns that become folders below the run's.
    overwrite : bool
        Once this run is committed, delete the others in `output`.

    Raises
    ------
    ConfigError
        If `run_id` cannot name a folder.
    InputError
        If the output holds what sparkq did not write, or cannot be written.
    EngineError
        If a worker could not run the model.
    RunTakenError
        If another attempt of the same run id has committed it while this one ran: the work is done.
    """
    check_partition_columns(predictions.schema, partition_by)
    attempt = start_attempt(output_folder(predictions.sparkSession, output), run_id or new_run_id())
    manifest = committed_run(attempt.folder, attempt.run_id)
    if manifest is None:
        manifest = write_attempt(
            predictions, attempt, partition_by=partition_by, overwrite=overwrite, output=shown(output),
        )
    else:
        require_files(attempt.folder, manifest)
    return written_by(manifest)


def written_by(manifest: RunManifest) -> WrittenPredictions:
    """Take from the manifest of a run the figures about its rows."""
    return WrittenPredictions(
        run_id=manifest.run_id, rows=manifest.rows, ok=manifest.ok, errors=manifest.errors, error_codes=manifest.error_codes,
        engines=manifest.engine, seconds=manifest.seconds, files=len(manifest.files), bytes=manifest.total_bytes,
        warnings=manifest.warnings,
    )


def check_partition_columns(schema: StructType, partition_by: Sequence[str]) -> None:
    """Raise `InputError` unless they are columns of a type that a folder's name can keep."""
    for name in partition_by:
        if name not in schema.names or not isinstance(schema[name].dataType, _PARTITION_TYPES):
            fitting = ", ".join(field.name for field in schema if isinstance(field.dataType, _PARTITION_TYPES))
            raise InputError(
                f"partition_by: expected a column of strings, integers, dates or booleans; got {name!r}.",
                hint=f"one of: {fitting}.",
            )


def write_attempt(
    predictions: DataFrame, attempt: Attempt, *, partition_by: Sequence[str], overwrite: bool,
    output: str, describe: Callable[[RunManifest, RowCounts], RunManifest] | None = None, expected_rows: int | None = None,
    unread: Callable[[DataFrame], DataFrame] | None = None,
) -> RunManifest:
    """Compute an attempt's rows and commit them; if that fails nothing of it stays.

    Parameters
    ----------
    predictions, partition_by, overwrite
        As for `write_predictions`.
    attempt : Attempt
        From `sparkq.spark.output.commit.start_attempt`.
    output : str
        The output, as the manifest names it.
    describe : callable, optional
        Adds to the manifest what the job knows beside, and what it finds in the counts; called after the job.
    expected_rows : int, optional
        How many there must be.
    unread : callable, optional
        If there are fewer, from the rows that are there to those of images that Spark left out.

    Returns
    -------
    RunManifest
        The manifest that was committed.
    """
    started, clock = _now(), time.perf_counter()
    try:
        _write(predictions, attempt.folder.at(f"{attempt.staging}/tasks"), description=_described(attempt))
        if unread is not None and expected_rows is not None:
            _complete(predictions.schema, attempt, expected_rows, unread)
        staged, files = _compacted(predictions.schema, attempt, partition_by)
        counts = _counted(predictions, attempt.folder.at(f"{attempt.staging}/{staged}"), files)
        if expected_rows not in (None, counts.rows):
            raise InputError(
                f"run {attempt.run_id}: expected {expected_rows} rows, one an image; got {counts.rows}.",
                hint="the input changed while it was read: run it again.",
            )
        seconds = time.perf_counter() - clock
        times = run_action(partial(task_times, attempt.folder.spark.sparkContext, _described(attempt)))
        manifest = (describe or _with_warnings)(RunManifest(
            run_id=attempt.run_id, attempt=attempt.name, **counts.figures(), seconds=round(seconds, 3),
            images_per_second=round(counts.rows / seconds, 3), output=output, tasks=times, started=started, ended=_now(),
            versions=_versions(), partition_by=tuple(partition_by), schema=predictions.schema.jsonValue(),
            files=tuple(_named(entry, f"{attempt.staging}/{staged}/", attempt.run_id) for entry in files),
        ), counts)
        run_action(partial(commit, attempt, staged, manifest))
    except BaseException as error:
        raise _given_up(attempt, error) or write_failure(error, attempt.folder.location) or error from error
    if overwrite:
        run_action(partial(remove_earlier_runs, attempt.folder, manifest))
    return manifest


def _with_warnings(manifest: RunManifest, counts: RowCounts) -> RunManifest:
    """Add what is odd about rows of which only their columns are known."""
    return replace(manifest, warnings=counts.warnings(None, None))


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")


def _versions() -> dict[str, str]:
    return {
        "sparkq": __version__, "torch": str(package_version("torch")), "spark": pyspark.__version__,
        "python": platform.python_version(),
    }


def _given_up(attempt: Attempt, error: BaseException) -> SparkqError | None:
    """Clean up; who commits first deletes what others stage, so that an attempt may fail because it is too late."""
    def clean() -> bool:
        abandon(attempt)
        return committed_run(attempt.folder, attempt.run_id) is not None

    try:
        # In a thread of its own: an interrupt may have broken this thread's connection to the JVM.
        committed = run_action(clean)
    # The JVM may be gone, or the disk; what happened first is what to tell.
    except Exception:
        abandon_locally(attempt)
        return None
    return run_taken(attempt) if committed and isinstance(error, Exception) else None


def _complete(schema: StructType, attempt: Attempt, expected: int, unread: Callable[[DataFrame], DataFrame]) -> None:
    """Add the rows of images that Spark left out."""
    location = attempt.folder.at(f"{attempt.staging}/tasks")
    written = read_strictly(attempt.folder.spark, schema, location)
    if run_action(written.count) < expected:
        _write(unread(written), location, mode="append")


def _compacted(schema: StructType, attempt: Attempt, partition_by: Sequence[str]) -> tuple[str, list[FolderEntry]]:
    """Copy the rows, a file a task, into few files where they are many; the folder in the staging folder, and its files.

    What a task has written is kept whichever executor dies later, and no image is touched again.
    """
    folder = attempt.folder
    tasks, compact = f"{attempt.staging}/tasks", f"{attempt.staging}/compact"
    files = folder.files(tasks)
    wanted = max(math.ceil(sum(entry.bytes for entry in files) / FILE_BYTES), 1)
    if len(files) <= wanted and not partition_by:
        return "tasks", files
    rows = read_strictly(folder.spark, schema, folder.at(tasks))
    # A shuffle of rows, that is of labels, not of images; without it every task would write a file a value.
    few = rows.repartition(wanted, *partition_by) if partition_by and wanted > 1 else rows.coalesce(wanted)
    _write(few, folder.at(compact), partition_by)
    folder.delete(tasks)
    return "compact", folder.files(compact)


def _described(attempt: Attempt) -> str:
    """Describe an attempt's Spark job, by which it is told from all other jobs of the session."""
    return f"sparkq: predict run {attempt.run_id} (attempt {attempt.name})"


def _write(
    rows: DataFrame, location: str, partition_by: Sequence[str] = (), *, description: str | None = None,
    mode: str = "errorifexists",
) -> None:
    # Version 1: a task's file appears whole, when the task commits. EMR's default is 2.
    committer = {"algorithm.version": "1", "marksuccessfuljobs": "false"}
    writer = rows.write.mode(mode).options(
        **{f"mapreduce.fileoutputcommitter.{key}": value for key, value in committer.items()},
    )
    action = partial(writer.partitionBy(*partition_by).parquet if partition_by else writer.parquet, location)
    run_action(action, description=description)


def _counted(predictions: DataFrame, location: str, files: Sequence[FolderEntry]) -> RowCounts:
    if not files:
        return RowCounts.of([])
    columns = counted_columns(predictions.schema)
    written = read_strictly(predictions.sparkSession, columns, location)
    return RowCounts.of(run_action(written.groupBy(*columns.names).agg(F.count("*").alias("rows")).collect))


def _named(entry: FolderEntry, staged: str, run_id: str) -> RunFile:
    return RunFile(f"{run_folder(run_id)}/{entry.path.removeprefix(staged)}", entry.bytes)
