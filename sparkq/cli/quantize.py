"""``sparkq quantize``: a float model and calibration images to an artifact."""
from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from sparkq.artifact import ModelArtifact
from sparkq.cli.command import Command
from sparkq.cli.reported import save_gated
from sparkq.config import CalibrationConfig, PreprocessConfig, QuantizationConfig, check_choice
from sparkq.config_parsing import path_field, spec_field
from sparkq.errors import ConfigError
from sparkq.storage import shown

if TYPE_CHECKING:
    from sparkq.gate import Attempt, GateTarget

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
    evaluation : str, optional
        Directory of labelled images that the gate measures accuracy on; not the calibration images.
    evaluation_labels : str, optional
        CSV with path (relative to the CSV) and label.
    max_accuracy_drop : float
        Points of top-1 that INT8 may lose on the evaluation images.
    min_agreement : float
        Without evaluation: share (0 to 1) of held-out calibration images on which INT8 and float must have the same first label.
    report : str, optional
        FILE.html to write, path or uri: the gate's attempts, each layer's sensitivity, weights and activations. Needs
        sparkq[report].
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
    evaluation: str | None = path_field(default=None)
    evaluation_labels: str | None = path_field(default=None)
    max_accuracy_drop: float = 0.5
    min_agreement: float = 0.98
    report: str | None = path_field(default=None)
    master: str | None = None

    def __post_init__(self) -> None:
        check_choice("task", self.task, ("classification",))
        if (self.evaluation is None) != (self.evaluation_labels is None):
            raise ConfigError("evaluation: expected evaluation and evaluation_labels together; got one of them.")

    def target(self) -> GateTarget:
        """What the gate asks for, checked."""
        from sparkq.gate import GateTarget

        return GateTarget(self.max_accuracy_drop, self.min_agreement)


def _run(options: QuantizeOptions) -> dict[str, Any]:
    from sparkq.float_model import load_float_model
    from sparkq.labels import read_label_names
    from sparkq.report.extra import check_report
    from sparkq.spark.measuring import labelled_measure
    from sparkq.spark.session import session_for
    from sparkq.spark.sources import calibration_images

    # What can be wrong without Spark is found before Spark is started.
    target = options.target()
    if options.report is not None:
        check_report(options.report)
    model = load_float_model(options.model, options.weights)
    labels = None if options.labels is None else read_label_names(options.labels)
    with session_for(options.master) as spark:
        calibration = options.calibration
        images = calibration_images(spark, calibration.input, images=calibration.images, glob=calibration.glob)
        labelled = None
        if options.evaluation is not None and options.evaluation_labels is not None:
            labelled = partial(labelled_measure, spark, options.evaluation, options.evaluation_labels)
        artifact, attempts = save_gated(
            model, images, options.preprocess, options.quantization, target, output=options.output, report=options.report,
            labels=labels, name=options.name, labelled=labelled,
        )
    return _result(options, artifact, attempts)


def _result(options: QuantizeOptions, artifact: ModelArtifact, attempts: list[Attempt]) -> dict[str, Any]:
    from sparkq.gate import chosen_attempt, gate_table

    manifest = artifact.manifest
    chosen = chosen_attempt(artifact, attempts)
    return {
        "output": shown(options.output),
        "name": manifest.name,
        "recipe": manifest.quantization.recipe if chosen is None else attempts[chosen].recipe,
        "model_digest": artifact.digest,
        "calibration_images": manifest.calibration_images,
        "accuracy": manifest.accuracy,
        "int8_macs_percent": manifest.int8_macs_percent,
        "float_layers": list(manifest.float_layers),
        "float_bytes": manifest.float_bytes,
        "artifact_bytes": len(artifact.dumps()),
        "attempts": [dataclasses.asdict(attempt) for attempt in attempts],
        "table": gate_table(attempts) if attempts else "",
        "report": None if options.report is None else shown(options.report),
    }


def _show(result: dict[str, Any]) -> str:
    float_mb, artifact_mb = result["float_bytes"] / 1e6, result["artifact_bytes"] / 1e6
    lines = [
        f"{result['output']}: {result['name']}, recipe {result['recipe']}, calibrated on {result['calibration_images']} images",
        f"size    {artifact_mb:.2f} MB (float {float_mb:.2f} MB, {float_mb / artifact_mb:.2f} times)",
        f"digest  {result['model_digest']}",
        *result["table"].splitlines(),
    ]
    if result["recipe"] != "none" and result["float_layers"]:
        lines.append(f"float   {len(result['float_layers'])} layers stayed in float: {', '.join(result['float_layers'][:5])}")
    if result["report"] is not None:
        lines.append(f"report  {result['report']}")
    return "\n".join(lines)


COMMAND = Command(
    QuantizeOptions, _run, _show,
    summary="Quantize a float model to an INT8 artifact, with calibration images.",
    example="sparkq quantize --config conf/quantize_model.yaml --output model.sparkq",
)
