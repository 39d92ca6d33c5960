"""``--overwrite``: once a run is committed, the runs before it go."""
from __future__ import annotations

import contextlib
from collections.abc import Sequence

from sparkq.errors import InputError
from sparkq.runs.layout import MOVED_MANIFEST, manifest_path, run_folder
from sparkq.runs.manifest import RunManifest
from sparkq.spark.output.committed import committed_run, listed_ids
from sparkq.spark.session.hadoop import HadoopFolder

__all__ = ["is_overwritten", "readable_run", "remove_earlier_runs", "remove_run"]


def remove_earlier_runs(folder: HadoopFolder, manifest: RunManifest) -> None:
    """Delete the runs that ended before one that is committed; readers that are at work on them fail.

    Of two that overwrite each other at once the one that ended last remains: the other finds it when it is committed itself,
    and goes, as if it had been overwritten a moment later.
    """
    own = (manifest.ended, manifest.run_id)
    others = [(run_id, readable_run(folder, run_id)) for run_id in listed_ids(folder) if run_id != manifest.run_id]
    for run_id, other in others:
        # One that this version cannot read was written by another, before.
        if other is None or (other.ended, other.run_id) < own:
            remove_run(folder, run_id)
    if is_overwritten(manifest, [other for _, other in others]):
        remove_run(folder, manifest.run_id)


def is_overwritten(manifest: RunManifest, others: Sequence[RunManifest | None]) -> bool:
    """Whether one of the other runs ended later and was told to overwrite."""
    own = (manifest.ended, manifest.run_id)
    return any(other and other.settings.get("overwrite") and (other.ended, other.run_id) > own for other in others)


def readable_run(folder: HadoopFolder, run_id: str) -> RunManifest | None:
    """Read the manifest of a run; None where there is none that this version reads."""
    with contextlib.suppress(InputError):
        return committed_run(folder, run_id)
    return None


def remove_run(folder: HadoopFolder, run_id: str) -> None:
    """Delete a committed run."""
    # In this order: without the moved one nobody can list the run again.
    folder.delete(f"{run_folder(run_id)}/{MOVED_MANIFEST}")
    folder.delete(manifest_path(run_id))
    folder.delete(run_folder(run_id))
