"""``sparkq predict``: images to Parquet."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sparkq.cli.boundary import stdout_is_terminal
from sparkq.cli.command import Command
from sparkq.config import PredictionJob, SessionOptions

__all__ = ["COMMAND", "PredictOptions"]


@dataclass(frozen=True, kw_only=True)
class PredictOptions(PredictionJob, SessionOptions):
    """Options of ``sparkq predict``.

    Parameters
    ----------
    quiet : bool
        Show no progress bar. There is one only in a terminal, and none under Airflow.
    """

    quiet: bool = False


def _run(options: PredictOptions) -> dict[str, Any]:
    from sparkq.spark.session.session import session_for
    from sparkq.workflows.predict import checked_artifact, run_prediction_job

    # A wrong model, or an output in the input, is told before Spark is started.
    checked_artifact(options)
    # Spark's own bar counts tasks, and would write over ours.
    with session_for(options.master, console_progress=False) as spark:
        return run_prediction_job(spark, options, progress=None if stdout_is_terminal() and not options.quiet else False)


def _show(result: dict[str, Any]) -> str:
    # A run that a notebook wrote under this id says less.
    skipped = f", {result['skipped']} images skipped" if result.get("skipped") else ""
    already = ", committed already" if result["already_committed"] else ""
    lines = [
        f"{result['output']}: {result['rows']} rows, {result['ok']} ok, {result['errors']} errors{skipped}",
        f"run     {result['run_id']}, {len(result['files'])} files{already}",
        f"model   {result['model']} on {' and '.join(result['engine']) or 'nothing'}, digest {result['model_digest'][:12]}",
        f"time    {result['seconds']:.1f} s, {result['images_per_second']:.1f} images per second, start of the workers included",
    ]
    if result.get("drift") is not None:
        lines.append(_drift_line(result["drift"]))
    # A run that was committed before there were any says nothing.
    lines += [f"warning {warning}" for warning in result.get("warnings", ())]
    lines += [f"error   {count} rows {code}" for code, count in result["error_codes"].items()]
    if result["errors"]:
        lines.append("Hint: error rows keep their path and say why: SELECT path, error_message WHERE status = 'error'.")
    return "\n".join(lines)


def _drift_line(drift: dict[str, Any]) -> str:
    if drift["recalibrate"] is None:
        return f"drift   {drift['reasons'][0]}"
    verdict = "recalibrate" if drift["recalibrate"] else "none to speak of"
    scores, labels = (
        "not measured" if drift[key] is None else f"{drift[key]:.2f}" for key in ("score_psi", "label_psi")
    )
    return (
        f"drift   {verdict}: {drift['images']} images, PSI of scores {scores}, of labels {labels}, "
        f"{len(drift['saturated'])} of {drift['activations']} activations saturate more"
    )


COMMAND = Command(
    PredictOptions, _run, _show,
    summary="Predict every image of a folder or table with Spark, and write Parquet.",
    example="sparkq predict --model model.sparkq --input photos/ --output predictions/",
    is_kept=True,
)
