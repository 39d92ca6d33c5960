"""The names of a run's files and folders, relative to its output; `sparkq.spark.output.commit` says how they come to be."""
from __future__ import annotations

from collections.abc import Iterable

__all__ = [
    "MOVED_MANIFEST", "RUNS", "STAGING", "committed_ids", "is_hidden", "manifest_path", "run_folder", "run_id_of",
    "staging_folder",
]

RUNS = "_sparkq"
"""The folder of all manifests."""
STAGING = f"{RUNS}/staging"
"""The folder in which attempts write until they commit."""
MOVED_MANIFEST = "_manifest.json"
"""The manifest's name beside the files that it lists, where folders are renamed in one step."""
_RUN_FOLDER, _MANIFEST = "run_id=", ".json"


def manifest_path(run_id: str) -> str:
    """The place of a committed run's manifest."""
    return f"{RUNS}/{run_id}{_MANIFEST}"


def run_folder(run_id: str) -> str:
    """The folder of a run's Parquet files."""
    return f"{_RUN_FOLDER}{run_id}"


def run_id_of(folder: str) -> str | None:
    """The run id that a folder of an output is named after; None for other folders."""
    return folder.removeprefix(_RUN_FOLDER) if folder.startswith(_RUN_FOLDER) else None


def staging_folder(run_id: str, attempt: str) -> str:
    """The folder in which an attempt of a run writes."""
    return f"{STAGING}/{run_id}/{attempt}"


def committed_ids(names: Iterable[str]) -> list[str]:
    """The run ids of the manifests among the names in `RUNS`, in order."""
    return sorted(name.removesuffix(_MANIFEST) for name in names if name.endswith(_MANIFEST) and not is_hidden(name))


def is_hidden(name: str) -> bool:
    """Whether readers of Parquet (Spark, pyarrow, Hive) take no notice of a name."""
    return name.startswith(("_", "."))
