"""Committed runs as Hadoop's filesystems show them: their manifests, and whether what these list is there."""
from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

from sparkq.errors import InputError
from sparkq.runs.layout import RUNS, committed_ids, manifest_path, run_folder
from sparkq.runs.manifest import RunManifest
from sparkq.spark.session.hadoop import HadoopFolder

__all__ = ["committed_run", "committed_runs", "listed_ids", "require_files"]

_NAMED = 3
_READS_AT_ONCE = 16


def committed_run(folder: HadoopFolder, run_id: str) -> RunManifest | None:
    """The manifest of a committed run, or None. Raises `InputError` if it is no manifest that this version reads."""
    data = folder.read(manifest_path(run_id))
    return None if data is None else RunManifest.loads(data, place=folder.at(manifest_path(run_id)))


def committed_runs(folder: HadoopFolder) -> list[RunManifest]:
    """The manifests of all committed runs, in the order of their commits."""
    with ThreadPoolExecutor(_READS_AT_ONCE) as pool:
        read = pool.map(partial(committed_run, folder), listed_ids(folder))
        manifests = [manifest for manifest in read if manifest is not None]
    return sorted(manifests, key=lambda manifest: (manifest.ended, manifest.run_id))


def listed_ids(folder: HadoopFolder) -> list[str]:
    """The ids of all committed runs."""
    return committed_ids(entry.path.rpartition("/")[2] for entry in folder.entries(RUNS) if not entry.is_folder)


def require_files(folder: HadoopFolder, manifest: RunManifest) -> None:
    """Check the files of a run by one listing of its folder: on object stores a request for a thousand of them.

    Parameters
    ----------
    folder : HadoopFolder
        The output.
    manifest : RunManifest
        Of a run that is committed, or is just being.

    Raises
    ------
    InputError
        If a file that the manifest lists is not there, or has another length.
    """
    there = {entry.path: entry.bytes for entry in folder.files(run_folder(manifest.run_id))}
    wrong = [_told(file.path, file.bytes, there) for file in manifest.files if there.get(file.path) != file.bytes]
    if wrong:
        more = f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
        raise InputError(
            f"run {manifest.run_id} of {folder.location}: expected the {len(manifest.files)} files that its manifest lists; got "
            f"{len(wrong)} of them otherwise: {', '.join(wrong[:_NAMED])}{more}.",
            hint="the rows are lost: predict again under another run id, or delete this run's manifest and folder.",
        )


def _told(path: str, size: int, there: dict[str, int]) -> str:
    return f"{path} has {there[path]} bytes, not {size}" if path in there else f"{path} is missing"
