"""``sparkq demo``: the whole way on real scans, from training to Parquet, in under a minute."""
from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparkq.cli.command import Command
from sparkq.config import QuantizationConfig
from sparkq.config_parsing import path_field

__all__ = ["COMMAND", "DemoOptions"]

_CALIBRATION_IMAGES = 200


@dataclass(frozen=True)
class DemoOptions:
    """Options of ``sparkq demo``.

    Parameters
    ----------
    output : str
        Local folder for images, artifact and predictions; those of an earlier demo are replaced.
    master : str, optional
        Spark master where no session exists; default local[*].
    """

    output: str = path_field(default="sparkq-demo")
    master: str | None = None


def _run(options: DemoOptions) -> dict[str, Any]:
    from sparkq.digits import PREPROCESS, load_digits, train_digits_net, write_images
    from sparkq.quantization import quantize
    from sparkq.spark.evaluation import evaluate
    from sparkq.spark.inference import predict
    from sparkq.spark.planning import with_planned_partitions
    from sparkq.spark.session import session_for
    from sparkq.spark.sinks import write_predictions
    from sparkq.spark.sources import read_images

    folder = Path(options.output).absolute()
    training, held_out = load_digits()
    model = train_digits_net(training)
    labels_csv = write_images(held_out, folder)
    names = [str(digit) for digit in range(10)]
    calibration = list(training.images[:_CALIBRATION_IMAGES])
    artifacts = {
        recipe: quantize(
            model, calibration=calibration, preprocess=PREPROCESS, labels=names, config=QuantizationConfig(recipe=recipe),
            name="digits",
        )
        for recipe in ("static", "none")
    }
    artifacts["static"].save(str(folder / "digits.sparkq"))
    artifacts["none"].save(str(folder / "digits_float.sparkq"))
    with session_for(options.master) as spark:
        images = with_planned_partitions(read_images(spark, str(folder / "images")), images=len(held_out.images))
        written = write_predictions(predict(images, artifacts["static"]), str(folder / "predictions"), overwrite=True)
        evaluation = evaluate(images, artifacts["static"], labels=str(labels_csv), float_artifact=artifacts["none"])
    return {
        **dataclasses.asdict(evaluation),
        "rows": written.rows,
        "images_per_second": round(written.images_per_second, 1),
        "float_artifact_bytes": (folder / "digits_float.sparkq").stat().st_size,
        "artifact_bytes": (folder / "digits.sparkq").stat().st_size,
        "artifact": str(folder / "digits.sparkq"),
        "output": str(folder / "predictions"),
    }


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
    }
    return "\n".join(f"{key:<18} {value}" for key, value in rows.items())


COMMAND = Command(
    DemoOptions, _run, _show,
    summary="Train a small model on real scans, quantize it, run the Spark job, and print what came out.",
    example="sparkq demo --output /tmp/sparkq-demo",
)
