"""What the rows of a run say, summed up in one pass over the columns that are needed; memory does not grow with them."""
from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sparkq.errors import InputError
from sparkq.report.counts import Counts, growing_counts, share_counts
from sparkq.runs.committed import CommittedRun

__all__ = ["PICTURES", "PickedRow", "RowFigures", "measure_rows", "model_task_of"]

PICTURES = 12
"""Rows that are picked for each sheet of pictures."""

_PICKED_CODES = 32
_MOST_BOXES = 50
_MEASURE, _KEY = "__measure", "__key"
_WRITTEN = {"classification": ("label", "label_name", "score"), "embedding": ("embedding",), "detection": ("detections",)}
_MESSAGE_CHARACTERS = 300
# An embedding may have thousands of numbers, an image hundreds of boxes.
_BATCH_ROWS = {"classification": 2**16, "embedding": 2**12, "detection": 2**12}


@dataclass(frozen=True)
class PickedRow:
    """One row that is worth looking at.

    Parameters
    ----------
    path : str, optional
        Path or uri of its image; None where the rows have none.
    measure : float, optional
        What it was picked by: score of the best class or box, or length of the embedding. None for an error.
    label : int, optional
        Best class.
    label_name : str, optional
        Its name.
    error_code, error_message : str, optional
        None where it is no error.
    detections : tuple of dict
        Its boxes.
    """

    path: str | None
    measure: float | None
    label: int | None = None
    label_name: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    detections: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, eq=False)
class RowFigures:
    """All rows of a run, summed up.

    Parameters
    ----------
    model_task : str
        ``classification``, ``embedding`` or ``detection``.
    rows, errors : int
        In all, and those with status ``error``.
    error_codes : dict of str to int
        Rows a code.
    measures : Counts, optional
        Of scores (of the best class, or of every box) or of lengths of embeddings.
    labels : dict of (int, str or None) to int
        How often each class was the best, or how many boxes have it.
    boxes : tuple of int
        Images with 0, 1, 2 ... boxes; the last counts those with more, too. Empty for other tasks.
    highest, lowest : tuple of PickedRow
        Rows with the highest and with the lowest measure.
    failed : tuple of PickedRow
        Rows with errors, of each code some.
    """

    model_task: str
    rows: int
    errors: int
    error_codes: dict[str, int]
    measures: Counts | None
    labels: dict[tuple[int, str | None], int]
    boxes: tuple[int, ...]
    highest: tuple[PickedRow, ...]
    lowest: tuple[PickedRow, ...]
    failed: tuple[PickedRow, ...]


def model_task_of(run: CommittedRun) -> str:
    """Find the model task of a run in its manifest, or by the columns that a prediction adds."""
    named = run.manifest.task
    if named in _WRITTEN:
        return str(named)
    return next((task for task in ("detection", "embedding") if _WRITTEN[task][0] in run.manifest.columns), "classification")


def measure_rows(run: CommittedRun) -> RowFigures:
    """Read a run's rows once.

    Raises
    ------
    InputError
        If its files are not those that its manifest tells of.
    """
    model_task = model_task_of(run)
    columns = ["status", "error_code", "error_message", *_WRITTEN[model_task]]
    key = _key_column(run)
    sums = _Sums(model_task)
    needed = [*columns, *([key] if key and key not in columns else [])]
    for batch in run.batches(needed, batch_rows=_BATCH_ROWS[model_task]):
        table = pa.table({name: batch.column(name) for name in batch.schema.names})
        keys = table[key].cast(pa.string()) if key else pa.nulls(len(table), pa.string())
        sums.add(table.append_column(_KEY, keys))
    expected = run.manifest.rows
    if sums.rows != expected:
        raise InputError(
            f"run {run.run_id}: expected {expected} rows, as its manifest says; got {sums.rows} in its files.",
            hint="files of a run are never changed: somebody did, and no figure of it can be trusted.",
        )
    return sums.figures()


def _key_column(run: CommittedRun) -> str | None:
    """The column with the images' places."""
    named = run.manifest.uri_column
    return next((name for name in (named, "path", "uri") if name in run.manifest.columns), None)


@dataclass
class _Sums:
    model_task: str
    rows: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    labels: Counter[tuple[int, str | None]] = field(default_factory=Counter)
    boxes: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(_MOST_BOXES + 1, np.int64))
    measures: Counts | None = None
    highest: pa.Table | None = None
    lowest: pa.Table | None = None
    failed: dict[str, pa.Table] = field(default_factory=dict)

    def add(self, table: pa.Table) -> None:
        self.rows += len(table)
        failed = pc.equal(table["status"], "error")
        self._add_errors(table.filter(failed))
        self._add_predictions(table.filter(pc.invert(failed)))

    def _add_errors(self, table: pa.Table) -> None:
        for code in sorted(pc.unique(table["error_code"]).to_pylist(), key=str):
            rows = table.filter(pc.equal(table["error_code"], code))
            self.codes[str(code)] += len(rows)
            if code in self.failed or len(self.failed) < _PICKED_CODES:
                self.failed[code] = _best(self.failed.get(code), rows, [(_KEY, "ascending")])

    def _add_predictions(self, table: pa.Table) -> None:
        if self.model_task == "detection":
            measure = self._add_boxes(table["detections"].combine_chunks())
        elif self.model_task == "embedding":
            measure = _norms(table["embedding"].combine_chunks())
            self.measures = growing_counts(self.measures, measure)
        else:
            measure = _floats(table["score"])
            self.measures = share_counts(self.measures, measure)
            self._add_labels(table.select(["label", "label_name"]))
        # The vectors themselves are not looked at again.
        kept = table.drop_columns(["embedding"]) if self.model_task == "embedding" else table
        rows = kept.append_column(_MEASURE, pa.array(measure, from_pandas=True))
        rows = rows.filter(pc.is_valid(rows[_MEASURE]))
        self.highest = _best(self.highest, rows, [(_MEASURE, "descending"), (_KEY, "ascending")])
        self.lowest = _best(self.lowest, rows, [(_MEASURE, "ascending"), (_KEY, "ascending")])

    def _add_labels(self, table: pa.Table) -> None:
        counted = table.group_by(["label", "label_name"]).aggregate([([], "count_all")])
        for row in counted.to_pylist():
            if row["label"] is not None:
                self.labels[row["label"], row["label_name"]] += row["count_all"]

    def _add_boxes(self, detections: pa.ListArray) -> npt.NDArray[np.float64]:
        """The best score of each image; NaN where there is no box."""
        lengths = np.asarray(pc.fill_null(pc.list_value_length(detections), 0))
        self.boxes += np.bincount(np.minimum(lengths, _MOST_BOXES), minlength=_MOST_BOXES + 1)
        boxes = detections.flatten()
        scores = _floats(boxes.field("score"))
        self.measures = share_counts(self.measures, scores)
        self._add_labels(pa.table({name: boxes.field(name) for name in ("label", "label_name")}))
        best = np.full(len(detections), -np.inf)
        np.maximum.at(best, np.repeat(np.arange(len(detections)), lengths), scores)
        best[lengths == 0] = np.nan
        return best

    def figures(self) -> RowFigures:
        return RowFigures(
            model_task=self.model_task, rows=self.rows, errors=self.codes.total(), error_codes=dict(sorted(self.codes.items())),
            measures=self.measures, labels=dict(self.labels),
            boxes=tuple(self.boxes.tolist()) if self.model_task == "detection" else (),
            highest=_picked(self.highest), lowest=_picked(self.lowest), failed=tuple(self._some_failed()),
        )

    def _some_failed(self) -> list[PickedRow]:
        """The first of each code, then the second of each ..."""
        by_code = [_picked(self.failed[code]) for code in sorted(self.failed, key=str)]
        turns = [rows[turn] for turn in range(PICTURES) for rows in by_code if turn < len(rows)]
        return turns[:max(PICTURES, len(by_code))]


def _floats(column: Any) -> npt.NDArray[np.float64]:
    return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False)) if len(column) else np.zeros(0)


def _norms(vectors: pa.ListArray) -> npt.NDArray[np.float64]:
    """Euclidean length of each; NaN of null."""
    if not len(vectors):
        return np.zeros(0)
    lengths = np.asarray(pc.fill_null(pc.list_value_length(vectors), 0))
    squares = _floats(vectors.flatten()) ** 2
    sums = np.bincount(np.repeat(np.arange(len(vectors)), lengths), weights=squares, minlength=len(vectors))
    return np.where(lengths > 0, np.sqrt(sums), np.nan)


def _best(kept: pa.Table | None, rows: pa.Table, order: list[tuple[str, str]]) -> pa.Table:
    """The first rows in that order of those kept and new ones, whatever the order in which they come."""
    # Not `select_k_unstable`: in pyarrow 23 it leaves out rows whose key is null, in 26 it does not.
    chosen = rows.take(pc.sort_indices(rows, order)[:PICTURES])
    if kept is None:
        return chosen
    both = pa.concat_tables([kept, chosen])
    return both.take(pc.sort_indices(both, order)[:PICTURES])


def _picked(table: pa.Table | None) -> tuple[PickedRow, ...]:
    return () if table is None else tuple(
        PickedRow(
            path=row[_KEY], measure=row.get(_MEASURE), label=row.get("label"), label_name=row.get("label_name"),
            error_code=row["error_code"], error_message=None if row["error_message"] is None
            else row["error_message"][:_MESSAGE_CHARACTERS], detections=tuple(row.get("detections") or ()),
        ) for row in table.to_pylist()
    )
