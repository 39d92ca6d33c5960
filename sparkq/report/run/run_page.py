"""The page of a run: one HTML file, for whoever has to know in the morning whether it went well."""
from __future__ import annotations

import datetime
import os
import re
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup, escape

from sparkq.artifact.facts import megabytes
from sparkq.config import limits_among
from sparkq.error_codes import meaning_and_advice
from sparkq.report.run.charts import box_chart, histogram_chart, rate_chart, task_rate_chart
from sparkq.report.run.rows import PickedRow
from sparkq.report.run.run_summary import RunSummary
from sparkq.report.run.thumbnails import Thumbnail, thumbnails
from sparkq.report.template import render
from sparkq.report.wording import number
from sparkq.storage import shown
from sparkq.version import __version__

__all__ = ["render_run_report"]

_LABELS = 30
_PATH_CHARACTERS = 40
_MEASURES = {"classification": "score", "embedding": "length", "detection": "best score"}


def render_run_report(run: RunSummary, *, images: bool) -> str:
    """The page; without `images` none is opened."""
    tasks, figures = run.tasks, run.figures
    return render(
        "run/run.html", filters={"options": _with_options}, run=run,
        output=shown(run.output), figures=figures, model_name=run.manifest.model or "Model not known",
        errors=_errors(run), sql=_sql(run), sheets=_sheets(run, images=images), images=images,
        histogram=None if figures.measures is None or not figures.measures.total else histogram_chart(
            figures.measures,
            {"embedding": "lengths of embeddings", "detection": "scores of boxes"}.get(figures.model_task, "scores"),
        ),
        boxes=box_chart(figures.boxes) if any(figures.boxes) else None, labels=_labels(run), label_total=len(figures.labels),
        measure=_MEASURES[figures.model_task], rates=None if tasks is None else rate_chart(tasks.bins, tasks.span_seconds),
        task_rates=None if tasks is None else task_rate_chart(tasks.bins), tasks=tasks, drift=_drift(run), facts=_facts(run),
        settings=[(key, _text(value)) for key, value in run.manifest.settings.items()],
        digest=_digest(run), date=_date(run.manifest.ended), version=__version__,
    )


def _errors(run: RunSummary) -> list[dict[str, Any]]:
    """The codes, most frequent first, each with what it means, what to do, and one case of it."""
    cases = {row.error_code: row for row in reversed(run.figures.failed)}
    errors = []
    for code, count in sorted(run.figures.error_codes.items(), key=lambda item: (-item[1], item[0])):
        meaning, advice = meaning_and_advice(code)
        errors.append({
            "code": code, "rows": count, "share": count / run.figures.rows, "meaning": meaning, "action": advice,
            "case": cases.get(code),
        })
    return errors


def _with_options(text: str) -> Markup:
    """Options stand out, and are not broken after their dashes."""
    return Markup(re.sub("(--[a-z][a-z-]*)", r'<code class="option">\1</code>', str(escape(text))))


def _sql(run: RunSummary) -> str:
    """A query for the failed rows, which any Spark session takes."""
    columns = run.manifest.columns
    key = next((name for name in (run.manifest.uri_column, "path", "uri") if name in columns), None)
    place = f"{_absolute(run.output)}/run_id={run.run_id}".replace("`", "``")
    return (
        f"SELECT {'' if key is None else f'{key}, '}error_code, error_message\nFROM parquet.`{shown(place)}`\n"
        "WHERE status = 'error'"
    )


def _absolute(output: str) -> str:
    return output.rstrip("/") if ":/" in output else os.path.abspath(output)


def _sheets(run: RunSummary, *, images: bool) -> dict[str, list[tuple[PickedRow, Thumbnail | None, str]]]:
    """Rows with their pictures and with what is said of a picture to who does not see it, a sheet each."""
    sheets = {"failed": run.figures.failed, "lowest": run.figures.lowest, "highest": run.figures.highest}
    # A file that was empty or none at all is asked for again, too: it may have been mended.
    rows = [row for sheet in sheets.values() for row in sheet]
    limits = limits_among(run.manifest.settings)
    made: Sequence[Thumbnail | None] = thumbnails(rows, limits=limits) if images else [None] * len(rows)
    pictures = iter(made)
    return {
        name: [(row, next(pictures), f"{_said(row, run.figures.model_task)}: {_short(row.path)}") for row in sheet]
        for name, sheet in sheets.items()
    }


def _said(row: PickedRow, model_task: str) -> str:
    if row.error_code is not None:
        return row.error_code
    measure = "" if row.measure is None else f"{row.measure:.3f}"
    if model_task == "detection":
        return f"{len(row.detections)} box{'' if len(row.detections) == 1 else 'es'}, best {measure}"
    if model_task == "embedding":
        return f"length {measure}"
    return f"{row.label if row.label_name is None else row.label_name}, {measure}"


def _short(path: str | None) -> str:
    """The file, and the folder that it is in: the caption is narrow."""
    if path is None:
        return "no path"
    end = "/".join(shown(path).rsplit("/", 2)[-2:])
    return end if len(end) <= _PATH_CHARACTERS else "…" + end[-_PATH_CHARACTERS:]


def _labels(run: RunSummary) -> list[dict[str, Any]]:
    """The most frequent classes, and all others in one line."""
    counted = sorted(run.figures.labels.items(), key=lambda item: (-item[1], item[0][0]))
    total = sum(run.figures.labels.values())
    rows = [
        {"label": str(label), "name": name if name is not None else "", "count": count, "share": count / total}
        for (label, name), count in counted[:_LABELS]
    ]
    rest = counted[_LABELS:]
    if rest:
        count = sum(count for _, count in rest)
        rows.append({"label": "", "name": f"{len(rest)} others", "count": count, "share": count / total})
    return rows


def _drift(run: RunSummary) -> dict[str, Any] | None:
    """Rows of a table (figure, measured, alarm above), and what to say of them."""
    drift = run.manifest.drift
    if not drift:
        return None
    rows = [
        (name, "-" if drift.get(f"{key}_psi") is None else f"{drift[f'{key}_psi']:.3f}",
         "-" if drift.get(f"{key}_psi_limit") is None else f"{drift[f'{key}_psi_limit']:.3f}",
         None not in (drift.get(f"{key}_psi"), drift.get(f"{key}_psi_limit")) and drift[f"{key}_psi"] > drift[f"{key}_psi_limit"])
        for name, key in (("Scores, population stability index", "score"), ("Labels, population stability index", "label"))
    ]
    saturated = drift.get("saturated") or ()
    rows.append((
        "Activations that leave their calibrated range more often", f"{len(saturated)} of {drift.get('activations', 0)}", "0",
        bool(saturated),
    ))
    return {"rows": rows, "images": drift["images"], "reasons": drift.get("reasons") or (), "saturated": saturated[:_LABELS]}


def _facts(run: RunSummary) -> list[tuple[str, str]]:
    manifest = run.manifest
    workers = manifest.workers
    facts = [
        ("Run", run.run_id), ("Output", shown(_absolute(run.output))), ("Input", manifest.input),
        ("Started", _date(manifest.started)), ("Committed", _date(manifest.ended)),
        ("Left out, done by earlier runs", number(manifest.skipped) if manifest.skipped else None),
        ("Files", f"{len(manifest.files)}, {megabytes(manifest.total_bytes)}"),
        ("Rows by engine", ", ".join(f"{name} {number(count)}" for name, count in manifest.engine.items())),
        ("Python workers", number(workers.workers) if workers else None),
        ("Models loaded by a worker", f"{workers.loads_per_worker:g}" if workers else None),
        ("Peak memory of a worker", megabytes(workers.peak_memory_bytes) if workers and workers.peak_memory_bytes else None),
        ("Model digest", _digest(run)),
        ("Versions", ", ".join(f"{name} {version}" for name, version in manifest.versions.items())),
    ]
    return [(name, str(value)) for name, value in facts if value]


def _digest(run: RunSummary) -> str:
    return run.manifest.model_digest or ", ".join(run.manifest.model_digests)


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "-"
    return "-" if value is None else "yes" if value is True else "no" if value is False else str(value)


def _date(text: str) -> str:
    """A moment that the manifest has as ISO 8601, to the second, UTC."""
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        return text
    return f"{moment.astimezone(datetime.timezone.utc):%Y-%m-%d %H:%M:%S} UTC"
