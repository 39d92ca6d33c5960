"""``sparkq quantize``: a float model and calibration images to an artifact."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sparkq.cli.command import Command
from sparkq.config import CalibrationConfig, PreprocessConfig, QuantizationConfig, check_choice
from sparkq.config_parsing import path_field, spec_field
from sparkq.storage import shown

__all__ = ["COMMAND", "QuantizeOptions"]


@dataclass(frozen=True)
class QuantizeOptions:
    """Options of ``sparkq quantize``.

    Parameters
    ----------
    preprocess : PreprocessConfig
        From an image to the model's input.
    calibration : CalibrationConfig
        Images like those of the job.
    model : str
        Float model: module:factory, file.py:factory, timm:NAME, torchvision:NAME, onnx:FILE or pt2:FILE.
    output : str
        The artifact to write, NAME.sparkq; path or uri.
    weights : str, optional
        A .safetensors file, a state_dict written by torch.save, or an ONNX file with the model's names.
    task : str
        classification.
    labels : str, optional
        Text file with one class name a line.
    name : str, optional
        Model name in the artifact; default: the model's class.
    quantization : QuantizationConfig
        Recipe and observer.
    master : str, optional
        Spark master where no session exists; default local[*].
    """

    preprocess: PreprocessConfig
    calibration: CalibrationConfig
    model: str = spec_field()
    output: str = path_field()
    weights: str | None = path_field(default=None)
    task: str = "classification"
    labels: str | None = path_field(default=None)
    name: str | None = None
    quantization: QuantizationConfig = QuantizationConfig()
    master: str | None = None

    def __post_init__(self) -> None:
        check_choice("task", self.task, ("classification",))


def _run(options: QuantizeOptions) -> dict[str, Any]:
    from sparkq.float_model import load_float_model
    from sparkq.labels import read_label_names
    from sparkq.quantization import quantize
    from sparkq.spark.session import session_for
    from sparkq.spark.sources import calibration_images

    # What can be wrong without Spark is found before Spark is started.
    model = load_float_model(options.model, options.weights)
    labels = None if options.labels is None else read_label_names(options.labels)
    with session_for(options.master) as spark:
        calibration = options.calibration
        images = calibration_images(spark, calibration.input, images=calibration.images, glob=calibration.glob)
    artifact = quantize(
        model, calibration=images, preprocess=options.preprocess, labels=labels, config=options.quantization, name=options.name,
    )
    artifact.save(options.output)
    manifest = artifact.manifest
    return {
        "output": shown(options.output),
        "name": manifest.name,
        "recipe": manifest.quantization.recipe,
        "model_digest": artifact.digest,
        "calibration_images": manifest.calibration_images,
        "float_layers": list(manifest.float_layers),
        "float_bytes": manifest.float_bytes,
        "artifact_bytes": len(artifact.dumps()),
    }


def _show(result: dict[str, Any]) -> str:
    float_mb, artifact_mb = result["float_bytes"] / 1e6, result["artifact_bytes"] / 1e6
    lines = [
        f"{result['output']}: {result['name']}, recipe {result['recipe']}, calibrated on {result['calibration_images']} images",
        f"size    {artifact_mb:.2f} MB (float {float_mb:.2f} MB, {float_mb / artifact_mb:.2f} times)",
        f"digest  {result['model_digest']}",
    ]
    if result["recipe"] != "none" and result["float_layers"]:
        lines.append(f"float   {len(result['float_layers'])} layers stayed in float: {', '.join(result['float_layers'][:5])}")
    return "\n".join(lines)


COMMAND = Command(
    QuantizeOptions, _run, _show,
    summary="Quantize a float model to an INT8 artifact, with calibration images.",
    example="sparkq quantize --config conf/quantize_model.yaml --output model.sparkq",
)
