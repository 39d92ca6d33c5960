"""Runs written without Spark, as `sparkq.spark.output.write` writes them: Parquet files, and a manifest that lists them."""
from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from sparkq.artifact.facts import ModelFacts
from sparkq.runs.manifest import PROTOCOL
from sparkq.runs.task_times import TaskTime, TaskTimes
from tests.sample_artifacts import sample_manifest

EVIL = "<script>alert('1')</script>\" onload=\"x&amp;"

_RANKED = pa.struct([("label", pa.int32()), ("label_name", pa.string()), ("score", pa.float32())])
_BOX = pa.struct([
    ("label", pa.int32()), ("label_name", pa.string()), ("score", pa.float32()),
    *((name, pa.float32()) for name in ("x_min", "y_min", "x_max", "y_max")),
])
_ADDED = {
    "classification": [("label", pa.int32()), ("label_name", pa.string()), ("score", pa.float32()), ("top_k", pa.list_(_RANKED))],
    "embedding": [("embedding", pa.list_(pa.float32()))],
    "detection": [("detections", pa.list_(_BOX))],
}
_SPARK_TYPES = {pa.string(): "string", pa.int32(): "integer", pa.float32(): "float"}

DRIFTED = {
    "images": 640, "score_psi": 0.91, "label_psi": 0.1, "score_psi_limit": 0.25, "label_psi_limit": 0.25, "activations": 9,
    "saturated": [{"name": "layer1.0.conv1", "calibrated": 0.001, "now": 0.07}], "recalibrate": True,
    "reasons": ["the scores have moved"],
}


def times(count: int = 5, *, rows: int = 40) -> TaskTimes:
    """Of tasks one after another, a second longer each."""
    tasks = [TaskTime(number, f"{number % 2} on host", 1.7e9 + 2 * number, 1.0 + number, rows) for number in range(count)]
    found = TaskTimes.of(tasks, tasks=count, failed_attempts=1)
    assert found is not None
    return found


def ok(path: str | None, label: int, score: float, name: str | None = None) -> dict[str, Any]:
    """A row of a classification."""
    return {"path": path, "status": "ok", "label": label, "label_name": name, "score": score}


def failed(path: str | None, code: str, message: str = "the file ends too early") -> dict[str, Any]:
    """A row with an error."""
    return {"path": path, "status": "error", "error_code": code, "error_message": message}


def write_run(
    output: Path, rows: Sequence[Mapping[str, Any]], /, *, run_id: str = "r1", task: str = "classification",
    files: int = 1, partition_by: str | None = None, **manifest: Any,
) -> dict[str, Any]:
    """Write a run of `rows`, whose columns that are not given are null; `manifest` replaces keys."""
    schema = pa.schema([
        *((name, pa.string()) for name in ("path", "status", "error_code", "error_message")), *_ADDED[task],
        *((name, pa.string()) for name in ("model_digest", "engine")),
    ])
    table = pa.Table.from_pylist([{"model_digest": "d" * 64, "engine": "fbgemm", **row} for row in rows], schema)
    listed = []
    for number in range(files):
        part = table.slice(len(table) * number // files, len(table) * (number + 1) // files - len(table) * number // files)
        for folder, piece in _pieces(part, partition_by):
            path = Path(f"run_id={run_id}", folder, f"part-{number}.parquet")
            (output / path).parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(piece, output / path, row_group_size=7)
            listed.append({"path": str(path), "bytes": (output / path).stat().st_size})
    errors = [row["error_code"] for row in rows if row["status"] == "error"]
    whole = {
        "protocol": PROTOCOL, "run_id": run_id, "attempt": "a",
        "rows": len(rows), "ok": len(rows) - len(errors), "errors": len(errors),
        "error_codes": {code: errors.count(code) for code in sorted(set(errors))}, "engine": {"fbgemm": len(rows)},
        "model_digests": ["d" * 64], "seconds": 12.5, "images_per_second": len(rows) / 12.5, "skipped": 0, "left_out": {},
        "input": "/lake/photos", "uri_column": None, "output": str(output), "model": "sample", "model_digest": "d" * 64,
        "workers": {"workers": 4, "loads": 4, "peak_memory_bytes": 5 * 10**8, "loads_per_worker": 1.0}, "drift": None,
        "recalibrate": None, "settings": {"max_error_rate": 0.25, "partition_by": ["a"], "resume": False, "glob": None},
        "artifact": ModelFacts.of(sample_manifest(), 1200).to_mapping(), "tasks": times().to_mapping(),
        "started": "2026-11-21T05:00:00.000+00:00", "ended": "2026-11-21T05:00:12.500+00:00",
        "versions": {"sparkq": "0.1.0", "spark": "4.1.4"}, "partition_by": [partition_by] if partition_by else [],
        "schema": {"type": "struct", "fields": [
            {"name": field.name, "type": _SPARK_TYPES.get(field.type, {}), "nullable": True, "metadata": {}} for field in schema
        ]},
        "files": listed, "warnings": [], **manifest,
    }
    (output / "_sparkq").mkdir(parents=True, exist_ok=True)
    (output / "_sparkq" / f"{run_id}.json").write_text(json.dumps(whole))
    return whole


def _pieces(table: pa.Table, partition_by: str | None) -> list[tuple[str, pa.Table]]:
    if partition_by is None:
        return [("", table)]
    values = sorted(set(table[partition_by].to_pylist()), key=str)
    return [
        (
            f"{partition_by}={'__HIVE_DEFAULT_PARTITION__' if value is None else quote(str(value), safe=' ')}",
            table.filter([row == value for row in table[partition_by].to_pylist()]).drop_columns([partition_by]),
        ) for value in values
    ]
