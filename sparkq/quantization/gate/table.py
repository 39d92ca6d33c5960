"""The gate's attempts as text."""
from __future__ import annotations

from collections.abc import Callable, Sequence

from sparkq.quantization.gate.target import GateAttempt

__all__ = ["gate_rows", "gate_table"]

_Cell = Callable[[GateAttempt], str]

_LABELS: dict[str, _Cell] = {
    "top-1 %": lambda attempt: _figure(attempt.measured.top1), "drop": lambda attempt: _figure(attempt.measured.accuracy_drop),
    "agreement %": lambda attempt: _figure(attempt.measured.agreement),
    "+-": lambda attempt: _figure(attempt.measured.standard_error),
}
_EXPECTED: dict[str, _Cell] = {
    "expected loss": lambda attempt: _figure(attempt.measured.expected_loss),
    "at most": lambda attempt: _figure(attempt.measured.expected_loss_at_most), "agreement %": _LABELS["agreement %"],
}
_BOXES: dict[str, _Cell] = {
    "mAP50 %": lambda attempt: _figure(attempt.measured.map50), "drop": _LABELS["drop"], "F1 %": _LABELS["agreement %"],
    "boxes": lambda attempt: str(attempt.measured.boxes), "+-": _LABELS["+-"],
}
_VECTORS: dict[str, _Cell] = {
    "cosine": lambda attempt: _figure(attempt.measured.mean_cosine, 4),
    "least": lambda attempt: _figure(attempt.measured.least_cosine, 4),
    "+-": lambda attempt: _figure(attempt.measured.standard_error, 4),
}


def gate_rows(attempts: Sequence[GateAttempt]) -> list[tuple[str, ...]]:
    """Cells: the header, then one attempt a row; ``+-`` is the standard error of what decides: drop, F1 or cosine."""
    measured = [attempt.measured for attempt in attempts]
    vectors, boxes, expected = (
        any(getattr(one, name) is not None for one in measured) for name in ("mean_cosine", "boxes", "expected_loss")
    )
    columns: dict[str, _Cell] = {
        "recipe": lambda attempt: attempt.recipe, "images": lambda attempt: str(attempt.measured.images),
        **(_VECTORS if vectors else _BOXES if boxes else _EXPECTED if expected else _LABELS),
        "SQNR dB": lambda attempt: "infinite" if attempt.measured.sqnr_db is None else _figure(attempt.measured.sqnr_db),
        "INT8 MACs %": lambda attempt: _figure(attempt.int8_macs_percent),
        "MB": lambda attempt: _figure(attempt.artifact_bytes / 1e6),
        "images/s": lambda attempt: _figure(attempt.images_per_second),
    }
    return [tuple(columns), *(tuple(cell(attempt) for cell in columns.values()) for attempt in attempts)]


def gate_table(attempts: Sequence[GateAttempt]) -> str:
    """`gate_rows` as text with columns in line."""
    rows = gate_rows(attempts)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    )


def _figure(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
