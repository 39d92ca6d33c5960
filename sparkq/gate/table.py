"""The gate's attempts as text."""
from __future__ import annotations

from collections.abc import Sequence

from sparkq.gate.target import Attempt

__all__ = ["gate_rows", "gate_table"]

_HEADER = ("recipe", "images", "top-1 %", "drop", "agreement %", "+-", "SQNR dB", "INT8 MACs %", "MB", "images/s")


def gate_rows(attempts: Sequence[Attempt]) -> list[tuple[str, ...]]:
    """Cells: the header, then one attempt a row; ``+-`` is the standard error of what decides, the drop or the agreement."""
    return [_HEADER, *(_row(attempt) for attempt in attempts)]


def gate_table(attempts: Sequence[Attempt]) -> str:
    """`gate_rows` as text with columns in line."""
    rows = gate_rows(attempts)
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    )


def _row(attempt: Attempt) -> tuple[str, ...]:
    measured = attempt.measured
    return (
        attempt.recipe, str(measured.images), _figure(measured.top1), _figure(measured.accuracy_drop),
        _figure(measured.agreement), _figure(measured.standard_error),
        "infinite" if measured.sqnr_db is None else _figure(measured.sqnr_db), _figure(attempt.int8_macs_percent),
        _figure(attempt.artifact_bytes / 1e6), _figure(attempt.images_per_second),
    )


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
