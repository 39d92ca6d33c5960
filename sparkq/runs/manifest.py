"""The run manifest: the JSON file that makes a run count, and the only place where it is written and read.

Its keys are the fields of `RunManifest`. `PROTOCOL` rises when a key goes or changes its meaning, not when one is added that may
be absent (``sparkq/FORMATS.md``).
"""
from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sparkq.artifact.facts import ModelFacts
from sparkq.errors import InputError
from sparkq.redaction import shown_values
from sparkq.runs.task_times import TaskTimes

__all__ = ["PROTOCOL", "RunFile", "RunManifest", "WorkerFigures"]

PROTOCOL = 1
"""The number that this version writes and reads."""

Json = dict[str, Any]


@dataclass(frozen=True)
class RunFile:
    """A Parquet file of a run.

    Parameters
    ----------
    path : str
        Relative to the output.
    bytes : int
        Its length.
    """

    path: str
    bytes: int


@dataclass(frozen=True)
class WorkerFigures:
    """The Python workers of a job, as they reported themselves.

    Parameters
    ----------
    workers : int
        Processes that ended at least one task.
    loads : int
        Models that they loaded, in all.
    peak_memory_bytes : int
        Resident memory of the largest.
    loads_per_worker : float
        1 where no worker loaded the model twice.
    """

    workers: int
    loads: int
    peak_memory_bytes: int
    loads_per_worker: float


@dataclass(frozen=True, kw_only=True)
class RunManifest:
    """A committed run.

    Fields after `output` describe a job (``sparkq predict``, `sparkq.run_prediction_job`); they are None, empty or 0 for rows
    that `sparkq.write_predictions` wrote. Schedulers may rely on every key; which of them the Airflow DAG reads, a test checks.

    Parameters
    ----------
    run_id, attempt : str
        The run, and the attempt of it that committed.
    rows, ok, errors : int
        Rows in all, and by status.
    error_codes : dict of str to int
        Failed rows by code.
    engine : dict of str to int
        Rows by the engine that predicted them.
    model_digests : tuple of str
        The artifacts' digests that the rows have.
    seconds, images_per_second : float
        From the start of the write until all rows were counted, and rows over these seconds.
    started, ended : str
        ISO 8601, UTC.
    versions : dict of str to str
        sparkq, torch, spark, python.
    partition_by : tuple of str
        Columns that are folders.
    schema : dict
        Of the rows, as Spark's JSON.
    files : tuple of RunFile
        All that belongs to the run.
    output : str
        Folder of runs, without credentials.
    tasks : TaskTimes, optional
        When the tasks that predicted the rows were at work.
    skipped : int
        Images that ``--resume`` left out, because earlier runs had predicted them.
    left_out : dict of str to int
        Files of the input that were left out on purpose, by reason (`sparkq.images.listing`).
    input : str, optional
        As the job was given it, without credentials.
    uri_column : str, optional
        The column of paths or uris at which workers read the images.
    model, task, model_digest : str, optional
        The artifact's name, its model task, its digest.
    artifact : ModelFacts, optional
        Facts about the model, for reports.
    preprocess, detection : dict, optional
        The artifact's preprocessing, and of a detection how outputs become boxes; with the digest they say whether two runs
        give the same predictions.
    workers : WorkerFigures, optional
        The job's Python workers.
    nodes : tuple of dict
        What nodes measured to choose an engine (`sparkq.spark.cluster.nodes.NodeChoice`).
    drift : dict, optional
        `sparkq.metrics.drift.Drift` of a sample, if one was measured.
    recalibrate : bool, optional
        Whether the images have drifted; None where that was not measured, or on too few images.
    settings : dict
        Every option of the job, without credentials.
    warnings : tuple of str
        Reasons why the rows may be worth nothing, such as one label for all of them (`sparkq.metrics.plausibility`).
    protocol : int
        `PROTOCOL`.
    """

    protocol: int = PROTOCOL
    run_id: str
    attempt: str
    rows: int
    ok: int
    errors: int
    error_codes: Json
    engine: Json
    model_digests: tuple[str, ...]
    seconds: float
    images_per_second: float
    started: str
    ended: str
    versions: Json
    partition_by: tuple[str, ...]
    schema: Json
    files: tuple[RunFile, ...]
    output: str
    tasks: TaskTimes | None = None
    skipped: int = 0
    left_out: Json = field(default_factory=dict)
    input: str | None = None
    uri_column: str | None = None
    model: str | None = None
    task: str | None = None
    model_digest: str | None = None
    artifact: ModelFacts | None = None
    preprocess: Json | None = None
    detection: Json | None = None
    workers: WorkerFigures | None = None
    nodes: tuple[Json, ...] = ()
    drift: Json | None = None
    recalibrate: bool | None = None
    settings: Json = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def columns(self) -> Json:
        """Names of the rows' columns, and their types as Spark's JSON has them."""
        return {column["name"]: column["type"] for column in self.schema["fields"]}

    @property
    def total_bytes(self) -> int:
        """The length of all files."""
        return sum(file.bytes for file in self.files)

    def to_mapping(self) -> Json:
        """The manifest in plain JSON types."""
        mapping = {one.name: getattr(self, one.name) for one in dataclasses.fields(self)}
        for name in ("tasks", "artifact"):
            mapping[name] = None if mapping[name] is None else mapping[name].to_mapping()
        mapping |= {name: list(mapping[name]) for name in ("model_digests", "partition_by", "nodes", "warnings")}
        mapping["files"] = [dataclasses.asdict(file) for file in self.files]
        mapping["workers"] = None if self.workers is None else dataclasses.asdict(self.workers)
        return mapping

    def dumps(self) -> bytes:
        """The file's bytes."""
        return json.dumps(shown_values(self.to_mapping()), indent=1, ensure_ascii=False).encode()

    @classmethod
    def loads(cls, data: bytes, *, place: str) -> RunManifest:
        """Read a manifest's bytes.

        Parameters
        ----------
        data : bytes
            From storage.
        place : str
            Where they were, for messages.

        Raises
        ------
        InputError
            If they are no run manifest, or one of another protocol.
        """
        try:
            mapping = json.loads(data)
        except ValueError:
            mapping = None
        if not isinstance(mapping, dict) or not {"run_id", "files"} <= mapping.keys():
            raise _refused(place, "something else")
        found = mapping.get("protocol")
        if found != PROTOCOL:
            raise _refused(place, "one without a number" if found is None else f"protocol {found!r}")
        return cls._of(mapping, place)

    @classmethod
    def _of(cls, mapping: Mapping[str, Any], place: str) -> RunManifest:
        try:
            return cls(**{name: _read(hint, mapping[name]) for name, hint in _hints(RunManifest).items() if name in mapping})
        except (KeyError, TypeError, ValueError) as error:
            raise _refused(place, f"values of other types ({error})") from error


def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _read(hint: Any, value: Any) -> Any:
    """`value` of the type of a field, or a TypeError."""
    if value is None and type(None) in typing.get_args(hint):
        return None
    kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)] if type(None) in typing.get_args(hint) else [hint]
    (kind,) = kinds
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise TypeError(f"expected a list; got {type(value).__name__}")
        return tuple(_read(typing.get_args(kind)[0], one) for one in value)
    if kind in (TaskTimes, ModelFacts):
        return kind.from_mapping(value)
    if kind in (RunFile, WorkerFigures):
        return kind(**{name: _read(inner, value[name]) for name, inner in _hints(kind).items()})
    plain = {float: (int, float)}.get(kind, typing.get_origin(kind) or kind)
    if not isinstance(value, plain) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"expected {getattr(kind, '__name__', kind)}; got {type(value).__name__}")
    return value


def _refused(place: str, got: str) -> InputError:
    return InputError(
        f"{place}: expected a run manifest of sparkq, protocol {PROTOCOL}; got {got}.",
        hint="predict into a new folder: sparkq predict --model ... --input ... --output NEW.",
    )
