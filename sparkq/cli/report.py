"""``sparkq report``: one HTML page of a run."""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sparkq.cli.command import Command
from sparkq.config.parsing import path_field
from sparkq.storage import shown

__all__ = ["COMMAND", "ReportOptions"]


@dataclass(frozen=True)
class ReportOptions:
    """Options of ``sparkq report``.

    Parameters
    ----------
    predictions : str
        Folder of runs: what sparkq predict had as its output, path or uri.
    output : str
        FILE.html to write, path or uri, outside of that folder; a file that is there is replaced.
    run_id : str, optional
        Which run; default: the one that was committed last.
    images : bool
        Open the images with the highest and the lowest scores, and those that failed, where they lie now, and show them small.
        Leave them out where pictures are confidential.
    """

    predictions: str = field(metadata={"relative": True, "positional": True})
    output: str = path_field(default="report.html")
    run_id: str | None = None
    images: bool = True


def _run(options: ReportOptions) -> dict[str, Any]:
    from sparkq.report.run.run import RunReport, check_place

    check_place(options.output, options.predictions)
    report = RunReport.load(options.predictions, run_id=options.run_id)
    report.save(options.output, images=options.images)
    figures = report.figures
    return {
        "report": shown(options.output), "run_id": report.run_id, "verdict": report.verdict, "task": figures.model_task,
        "rows": figures.rows, "errors": figures.errors, "error_codes": figures.error_codes,
        "images_per_second": round(report.images_per_second, 3), "recalibrate": report.recalibrate,
        "warnings": list(report.manifest.warnings),
    }


def _show(result: dict[str, Any]) -> str:
    return "\n".join([
        f"run     {result['run_id']}", f"result  {result['verdict']}",
        *(f"warning {warning}" for warning in result["warnings"]),
        *(f"error   {count} rows {code}" for code, count in result["error_codes"].items()), f"report  {result['report']}",
    ])


COMMAND = Command(
    ReportOptions, _run, _show, summary="Write one HTML page of a run: errors, drift, scores, throughput, pictures.",
    example="sparkq report predictions/ --output report.html",
    is_kept=True,
)
