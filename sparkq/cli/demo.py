"""``sparkq demo``: the whole way on real scans, from training to Parquet, in under a minute."""
from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparkq.cli.command import Command
from sparkq.config import PredictionJob, QuantizationConfig, SessionOptions
from sparkq.config.parsing import path_field

if TYPE_CHECKING:
    from torch import nn

    from sparkq.artifact.file import ModelArtifact
    from sparkq.demo.digits import Digits

__all__ = ["COMMAND", "DemoOptions"]

_CALIBRATION_IMAGES = 200
_DRIFT_SAMPLE = 0.4


@dataclass(frozen=True, kw_only=True)
class DemoOptions(SessionOptions):
    """Options of ``sparkq demo``.

    Parameters
    ----------
    output : str
        Local folder for images, artifact and predictions; those of an earlier demo are replaced.
    """

    output: str = path_field(default="sparkq-demo")


def _run(options: DemoOptions) -> dict[str, Any]:
    from sparkq.demo.digits import load_digits, train_digits_net, write_images
    from sparkq.report.run.run import RunReport
    from sparkq.spark.evaluation.evaluate import evaluate
    from sparkq.spark.input.sources import read_images
    from sparkq.spark.session.session import session_for
    from sparkq.workflows.predict import run_prediction_job

    folder = Path(options.output).absolute()
    training, held_out = load_digits()
    labels_csv = write_images(held_out, folder)
    int8, float32 = _artifacts(train_digits_net(training), training)
    int8.save(str(folder / "digits.sparkq"))
    float32.save(str(folder / "digits_float.sparkq"))
    job = PredictionJob(
        model=str(folder / "digits.sparkq"), input=str(folder / "images"), output=str(folder / "predictions"), overwrite=True,
        drift_sample=_DRIFT_SAMPLE,
    )
    with session_for(options.master) as spark:
        run = run_prediction_job(spark, job)
        evaluation = evaluate(read_images(spark, job.input), int8, labels=str(labels_csv), float_artifact=float32)
    report = folder / "report.html"
    RunReport.load(job.output).save(str(report))
    return {
        **dataclasses.asdict(evaluation),
        "rows": run["rows"],
        "images_per_second": run["images_per_second"],
        "float_artifact_bytes": (folder / "digits_float.sparkq").stat().st_size,
        "artifact_bytes": (folder / "digits.sparkq").stat().st_size,
        "artifact": job.model,
        "output": job.output,
        "report": str(report),
    }


def _artifacts(model: nn.Module, training: Digits) -> tuple[ModelArtifact, ModelArtifact]:
    """INT8, through the gate, and float."""
    from sparkq.demo.digits import PREPROCESS
    from sparkq.workflows.quantize import quantize

    names = [str(digit) for digit in range(10)]
    int8, float32 = (
        quantize(
            model, calibration=training.images[:_CALIBRATION_IMAGES], preprocess=PREPROCESS, labels=names, name="digits",
            config=QuantizationConfig(recipe=recipe),
        )
        for recipe in ("static", "none")
    )
    return int8, float32


def _show(result: dict[str, Any]) -> str:
    rows = {
        "images": f"{result['rows']} held-out scans of handwritten digits",
        "float top-1": f"{result['float_top1']:.2f} %",
        "INT8 top-1": f"{result['top1']:.2f} %",
        "agreement": f"{result['agreement']:.2f} %",
        "float file": f"{result['float_artifact_bytes'] / 1e3:.1f} kB",
        "INT8 file": f"{result['artifact_bytes'] / 1e3:.1f} kB",
        "images per second": f"{result['images_per_second']:.1f} (the whole Spark job, start of its workers included)",
        "artifact": result["artifact"],
        "predictions": f"{result['output']} (Parquet)",
        "report": f"{result['report']} (open it in a browser)",
    }
    return "\n".join(f"{key:<18} {value}" for key, value in rows.items())


COMMAND = Command(
    DemoOptions, _run, _show,
    summary="Train a small model on real scans, quantize it, run the Spark job, and print what came out.",
    example="sparkq demo --output /tmp/sparkq-demo",
    is_kept=True,
)
