"""The rows of a run, counted by what a manifest says of them."""
from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.sql import Row
from pyspark.sql.types import StructType

from sparkq.metrics.plausibility import one_label_warning
from sparkq.redaction import get_logger

__all__ = ["RowCounts", "counted_columns"]

_logger = get_logger(__name__)
_COUNTED = ("status", "error_code", "engine", "model_digest")


def counted_columns(schema: StructType) -> StructType:
    """Return the columns of predictions by whose values rows are counted; `RowCounts.of` takes these, and ``rows``."""
    # Of other model tasks a column of this name is the user's own.
    classified = {"label", "label_name", "score"} <= set(schema.names) and not {"embedding", "detections"} & set(schema.names)
    return StructType([schema[name] for name in (*_COUNTED, *(("label",) if classified else ()))])


@dataclass(frozen=True)
class RowCounts:
    """Rows of a run by status, error code, engine, model and label.

    Parameters
    ----------
    error_codes, engines : Counter of str
        Failed rows by code; rows by engine.
    model_digests : tuple of str
        The artifacts' digests that the rows have.
    labels : Counter of int
        Rows by their first label; of a classification only.
    """

    error_codes: Counter[str]
    engines: Counter[str]
    model_digests: tuple[str, ...]
    labels: Counter[int]

    @classmethod
    def of(cls, counted: Sequence[Row]) -> RowCounts:
        """Sum up the rows of a table of counts."""
        codes, engines, labels = Counter[str](), Counter[str](), Counter[int]()
        for row in counted:
            engines[row["engine"]] += row["rows"]
            if row["status"] == "error":
                codes[row["error_code"]] += row["rows"]
            elif "label" in row:
                labels[row["label"]] += row["rows"]
        return cls(codes, engines, tuple(sorted({row["model_digest"] for row in counted})), labels)

    @property
    def rows(self) -> int:
        """Rows in all."""
        return self.engines.total()

    def warnings(self, classes: int | None, names: Sequence[str] | None) -> tuple[str, ...]:
        """Say, and log, why the rows may be worth nothing; `classes` of the model and their `names`, where they are known."""
        found = one_label_warning(self.labels, classes=classes, names=names)
        if found is None:
            return ()
        _logger.warning("predict: %s", found)
        return (found,)

    def figures(self) -> dict[str, Any]:
        """Return the figures by their names in a `sparkq.runs.manifest.RunManifest`."""
        errors = self.error_codes.total()
        return {
            "rows": self.rows, "ok": self.rows - errors, "errors": errors, "error_codes": dict(sorted(self.error_codes.items())),
            "engine": dict(sorted(self.engines.items())), "model_digests": self.model_digests,
        }
