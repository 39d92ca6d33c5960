"""Failed rows of a committed run, and on request the bytes, as Parquet of their own."""
from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from functools import partial

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql.types import BinaryType, StringType, StructField, StructType

from sparkq.errors import InputError
from sparkq.model_tasks.columns import prediction_fields
from sparkq.runs.layout import RUNS, STAGING, run_folder
from sparkq.runs.manifest import RunManifest
from sparkq.spark.input.sources import comparable_path
from sparkq.spark.output.commit import output_folder
from sparkq.spark.output.read import rows_of
from sparkq.spark.session.actions import run_action
from sparkq.spark.session.hadoop import HadoopFolder
from sparkq.storage import read_file

__all__ = ["quarantine_failures"]

_TOLD = ("error_code", "error_message", "model_digest")
_READ_FIELDS = (StructField("content", BinaryType()), StructField("content_error", StringType()))
_ROWS_A_BATCH = 16


def quarantine_failures(folder: HadoopFolder, manifest: RunManifest, destination: str, *, with_bytes: bool) -> str:
    """Write the rows with ``status = error`` of a committed run to ``DESTINATION/run_id=ID/``; it appears whole.

    Done again it does nothing, so that a retry of a run that was killed after its commit completes it.

    Parameters
    ----------
    folder, manifest
        The output, and the run's manifest.
    destination : str
        Folder, path or uri.
    with_bytes : bool
        Add ``content``, which a worker reads at the row's path or uri, and ``content_error``, which says why there is none.

    Returns
    -------
    str
        The folder that was written.
    """
    target = output_folder(folder.spark, destination)
    name = run_folder(manifest.run_id)
    if target.exists(name) or manifest.errors == 0:
        return target.at(name)
    rows = rows_of(folder, [manifest])
    added = prediction_fields(manifest.task or "classification").names
    kept = [column for column in rows.columns if column not in (*added, "run_id")]
    failed = rows.where("status = 'error'").select(*kept, *_TOLD)
    if with_bytes:
        failed = _with_bytes(failed, manifest.uri_column or "path")
    staged = f"{STAGING}/{manifest.run_id}-{secrets.token_hex(4)}"
    try:
        run_action(partial(failed.write.parquet, target.at(staged)))
        _publish(target, staged, name)
    finally:
        target.delete(staged)
        for parent in (STAGING, RUNS):
            target.delete_if_empty(parent)
    return target.at(name)


def _publish(target: HadoopFolder, staged: str, name: str) -> None:
    if target.renames_atomically:
        # Refused where another attempt was first: it wrote the same rows of the same committed run.
        target.move_folder(staged, name)
        return
    for entry in target.files(staged):
        target.move_file(entry.path, f"{name}/{entry.path.removeprefix(f'{staged}/')}")


def _with_bytes(failed: DataFrame, place_column: str) -> DataFrame:
    if place_column not in failed.columns:
        raise InputError(
            f"quarantine_bytes: expected images with a path to read them from; got the columns {', '.join(failed.columns)}.",
            hint="leave --quarantine-bytes out: the table itself holds the bytes.",
        )
    read = partial(_read_batches, place_column=place_column)
    return failed.mapInArrow(read, StructType([*failed.schema, *_READ_FIELDS]))


def _read_batches(batches: Iterable[pa.RecordBatch], *, place_column: str) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for start in range(0, batch.num_rows, _ROWS_A_BATCH):
            yield _read(batch.slice(start, _ROWS_A_BATCH), place_column)


def _read(batch: pa.RecordBatch, place_column: str) -> pa.RecordBatch:
    read = [_bytes_at(path) for path in batch.column(place_column).to_pylist()]
    columns = [pa.array([content for content, _ in read], pa.binary()), pa.array([error for _, error in read], pa.string())]
    names = [*batch.schema.names, *(field.name for field in _READ_FIELDS)]
    return pa.RecordBatch.from_arrays([*batch.columns, *columns], names=names)


def _bytes_at(path: str | None) -> tuple[bytes | None, str | None]:
    if path is None:
        return None, "the row has no path or uri"
    try:
        # Spark writes a local path as a uri and quotes nothing: what follows a "?" in a file's name is no query.
        return read_file(comparable_path(path), what="image"), None
    except InputError as error:
        return None, error.message
