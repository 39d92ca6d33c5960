"""Committed runs of an output, read through ``pyarrow.fs`` without Spark or Java; `sparkq.spark.output.commit` writes them."""
from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.dataset
import pyarrow.fs

from sparkq.config import check_run_id
from sparkq.errors import InputError
from sparkq.runs.layout import RUNS, committed_ids, manifest_path
from sparkq.runs.manifest import RunManifest
from sparkq.storage import is_uri, resolve_uri, shown

__all__ = ["CommittedRun", "find_run"]

_READS_AT_ONCE = 16
_LISTED_IDS = 10
# Of Spark's types that a folder's name can keep (`sparkq.spark.output.write`); all others are kept in the files.
_PARTITION_TYPES = {
    "string": pa.string(), "integer": pa.int32(), "long": pa.int64(), "short": pa.int16(), "byte": pa.int8(),
    "boolean": pa.bool_(), "date": pa.date32(),
}


@dataclass(frozen=True)
class CommittedRun:
    """One run.

    Parameters
    ----------
    output : str
        Where it is, as it was asked for.
    manifest : RunManifest
        Its manifest.
    filesystem : pyarrow.fs.FileSystem
        That of the output.
    root : str
        The output's path in it.
    """

    output: str
    manifest: RunManifest
    filesystem: pyarrow.fs.FileSystem
    root: str

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self.manifest.run_id

    def batches(self, columns: Sequence[str], *, batch_rows: int) -> Iterator[pa.RecordBatch]:
        """Iterate over the run's rows in pieces of at most `batch_rows`, of which few are in memory at once.

        Raises
        ------
        InputError
            If a file that the manifest lists is missing or broken.
        """
        paths = [f"{self.root}/{file.path}" for file in self.manifest.files]
        if not paths:
            return
        names, types = self.manifest.partition_by, self.manifest.columns
        schema = pa.schema([(name, _PARTITION_TYPES[types[name]]) for name in names])
        folders = pa.dataset.partitioning(schema, flavor="hive") if names else None
        try:
            dataset = pa.dataset.dataset(paths, format="parquet", filesystem=self.filesystem, partitioning=folders)
            yield from dataset.to_batches(
                columns=list(columns), batch_size=batch_rows, batch_readahead=2, fragment_readahead=1,
            )
        except (OSError, pa.ArrowException) as error:
            raise InputError(
                f"run {self.run_id} of {shown(self.output)}: expected the Parquet files that its manifest lists; got "
                f"{shown(' '.join(str(error).split()))[:300]}.",
                hint="files of a run are never changed: was one deleted? Another run overwrites with --overwrite.",
            ) from error


def find_run(output: str, run_id: str | None = None) -> CommittedRun:
    """A committed run of an output; without `run_id` the one that was committed last.

    Parameters
    ----------
    output : str
        Folder of runs, local path or any ``pyarrow.fs`` uri.
    run_id : str, optional
        Which.

    Raises
    ------
    ConfigError
        If `run_id` cannot be one.
    InputError
        If there is no such run, no run at all, or the output is none of sparkq's.
    """
    filesystem, root = _opened(output)
    ids = _committed_ids(filesystem, root, output)
    if run_id is not None:
        check_run_id(run_id)
        if run_id not in ids:
            raise InputError(
                f"output {shown(output)}: expected run {run_id}; got {_listed(ids)}.",
                hint="a run is there when its job has ended; leave --run-id out for the newest.",
            )
        return CommittedRun(output, _manifest(filesystem, root, output, run_id), filesystem, root)
    with ThreadPoolExecutor(_READS_AT_ONCE) as pool:
        manifests = list(pool.map(lambda name: _manifest(filesystem, root, output, name), ids))
    return CommittedRun(output, max(manifests, key=lambda found: (found.ended, found.run_id)), filesystem, root)


def _opened(output: str) -> tuple[pyarrow.fs.FileSystem, str]:
    if is_uri(output):
        filesystem, root = resolve_uri(output)
        return filesystem, root.rstrip("/")
    return pyarrow.fs.LocalFileSystem(), os.path.abspath(output)


def _committed_ids(filesystem: pyarrow.fs.FileSystem, root: str, output: str) -> list[str]:
    try:
        entries = filesystem.get_file_info(pyarrow.fs.FileSelector(f"{root}/{RUNS}", allow_not_found=True))
        is_there = filesystem.get_file_info(root).type != pyarrow.fs.FileType.NotFound
    except (OSError, pa.ArrowException) as error:
        raise InputError(
            f"output {shown(output)}: expected a folder that can be listed; got {shown(' '.join(str(error).split()))[:300]}.",
            hint="check the path and the right to read it.",
        ) from error
    names = [entry.base_name for entry in entries if entry.type == pyarrow.fs.FileType.File]
    ids = committed_ids(names)
    if not ids:
        found = "a folder without any" if is_there else "nothing there"
        raise InputError(
            f"output {shown(output)}: expected a folder with committed runs of sparkq ({manifest_path('ID')}); got {found}.",
            hint="give what `sparkq predict` had as --output; a run is there when its job has ended.",
        )
    return ids


def _listed(ids: Sequence[str]) -> str:
    more = f"{len(ids) - _LISTED_IDS} older, " if len(ids) > _LISTED_IDS else ""
    return more + ", ".join(ids[-_LISTED_IDS:])


def _manifest(filesystem: pyarrow.fs.FileSystem, root: str, output: str, run_id: str) -> RunManifest:
    place = f"output {shown(output)}, {manifest_path(run_id)}"
    try:
        with filesystem.open_input_file(f"{root}/{manifest_path(run_id)}") as stream:
            data = stream.read()
    except (OSError, pa.ArrowException) as error:
        raise InputError(
            f"{place}: expected a readable run manifest; got {shown(str(error))}.",
            hint="check the right to read it.",
        ) from error
    return RunManifest.loads(data, place=place)
