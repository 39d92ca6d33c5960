"""What ``sparkq quantize`` and ``sparkq convert`` share: no INT8 artifact is made but through the gate, and its report."""
from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from sparkq.artifact import ModelArtifact
from sparkq.config import CalibrationConfig, DetectionConfig, PreprocessConfig, QuantizationConfig, TaskConfig
from sparkq.config_parsing import path_field, spec_field
from sparkq.errors import ConfigError, GateError
from sparkq.storage import shown

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from sparkq.gate import Attempt, GateTarget
    from sparkq.quantization.calibration import CalibrationSet

__all__ = ["ArtifactOptions", "make_artifact", "show_artifact"]


@dataclass(frozen=True, kw_only=True)
class ArtifactOptions:
    """From a float model to an artifact.

    Parameters
    ----------
    preprocess : PreprocessConfig
        From an image to the model's input.
    model : str
        Float model: module:factory, file.py:factory, timm:NAME, torchvision:NAME, onnx:FILE or pt2:FILE.
    output : str
        The artifact to write, NAME.sparkq; path or uri.
    weights : str, optional
        A .safetensors file, a state_dict written by torch.save, or an ONNX file with the model's names.
    task : str
        classification; embedding: rows get the output of one layer, and what lies behind it is left out; detection: rows get
        boxes, of an SSD-style network.
    embedding_layer : str, optional
        With task embedding: a module's name, a node of the graph that torch.fx makes, or output for what the model returns.
        Planes are averaged. Default: what the classifier's head takes.
    labels : str, optional
        Text file with one class name a line; of a detection the first is the background's.
    name : str, optional
        Model name in the artifact; default: the model's class.
    evaluation : str, optional
        Directory of labelled images that the gate measures accuracy on; not the calibration images.
    evaluation_labels : str, optional
        CSV with path (relative to the CSV) and label; of a detection a line a box, with x_min, y_min, x_max and y_max.
    max_accuracy_drop : float
        Points of top-1, of a detection of mean average precision, that INT8 may lose on the evaluation images.
    min_agreement : float
        Without evaluation: share (0 to 1) of images held out from calibration on which INT8 and float must have the same
        first label; of a detection, F1 of the boxes against the float model's.
    detection : DetectionConfig
        With task detection: the network's default boxes, and which boxes a row keeps.
    min_cosine : float
        With task embedding: mean cosine similarity of INT8's and float's vectors on images held out from calibration.
    report : str, optional
        FILE.html to write, path or uri: the gate's attempts, each layer's sensitivity, weights and activations. Needs
        sparkq[report].
    master : str, optional
        Spark master where no session exists; default local[*].
    """

    preprocess: PreprocessConfig
    model: str = spec_field()
    output: str = path_field()
    weights: str | None = path_field(default=None)
    task: str = "classification"
    embedding_layer: str | None = None
    detection: DetectionConfig = DetectionConfig()
    labels: str | None = path_field(default=None)
    name: str | None = None
    evaluation: str | None = path_field(default=None)
    evaluation_labels: str | None = path_field(default=None)
    max_accuracy_drop: float = 0.5
    min_agreement: float = 0.98
    min_cosine: float = 0.99
    report: str | None = path_field(default=None)
    master: str | None = None

    def __post_init__(self) -> None:
        self.task_config()
        if self.task == "embedding" and (self.labels or self.evaluation):
            raise ConfigError(
                f"{'labels' if self.labels else 'evaluation'}: expected none with task embedding, which has no classes; got one."
            )
        if (self.evaluation is None) != (self.evaluation_labels is None):
            raise ConfigError("evaluation: expected evaluation and evaluation_labels together; got one of them.")

    def target(self) -> GateTarget:
        """What the gate asks for, checked."""
        from sparkq.gate import GateTarget

        return GateTarget(self.max_accuracy_drop, self.min_agreement, self.min_cosine, self.task)

    def task_config(self) -> TaskConfig:
        """What the artifact is for, checked."""
        return TaskConfig(self.task, self.embedding_layer, self.detection)


def make_artifact(
    options: ArtifactOptions, calibration: CalibrationConfig | None, config: QuantizationConfig,
) -> dict[str, Any]:
    """Make what the options ask for and write it, and the report if one is wanted; what the command tells of it.

    Raises
    ------
    GateError
        If nothing reaches the target; where a report is wanted it is written, and the message names it.
    """
    from sparkq.float_model import load_float_model, require_image_shape
    from sparkq.labels import read_label_names
    from sparkq.quantization.embedding import task_model
    from sparkq.quantizing import make_gated
    from sparkq.report.extra import check_report

    # What can be wrong without Spark is found before Spark is started, and a float artifact needs no Spark at all.
    target = options.target()
    if options.report is not None:
        check_report(options.report)
    model = load_float_model(options.model, options.weights)
    require_image_shape(model, options.preprocess.input_size)
    name = options.name or type(model).__name__
    model, task = task_model(model, options.task_config(), options.preprocess)
    labels = None if options.labels is None else read_label_names(options.labels)
    with _images(options, calibration, config) as (found, held_out, labelled):
        page = partial(_page, options, name, model, found, config)
        try:
            artifact, attempts = make_gated(
                model, found, options.preprocess, config, target, held_out=held_out, labels=labels, name=name, labelled=labelled,
                task=task,
            )
        except GateError as error:
            if options.report is not None:
                _write_report(options.report, page(artifact=None, attempts=error.attempts))
                message = f"{error.message}report  {shown(options.report)}\n"
                raise GateError(message, hint=error.hint, attempts=error.attempts) from error
            raise
        # All of it is made before any of it is written.
        content = None if options.report is None else page(artifact=artifact, attempts=attempts)
    artifact.save(options.output)
    if options.report is not None and content is not None:
        _write_report(options.report, content)
    return _result(options, artifact, attempts)


@contextmanager
def _images(
    options: ArtifactOptions, calibration: CalibrationConfig | None, config: QuantizationConfig,
) -> Iterator[tuple[CalibrationSet, npt.NDArray[np.uint8] | None, Any]]:
    """The calibration images, preprocessed on executors while the context lasts, and what the gate measures on."""
    if calibration is None and options.evaluation is None:
        from sparkq.quantization.calibration import calibration_set

        yield calibration_set([_pattern(options.preprocess.input_size)], options.preprocess), None, None
        return
    from sparkq.quantization.calibration import calibration_set
    from sparkq.spark.calibration import spark_calibration
    from sparkq.spark.measuring import labelled_measure
    from sparkq.spark.session import session_for
    from sparkq.spark.sources import read_images

    with session_for(options.master) as spark:
        labelled = None
        if options.evaluation is not None and options.evaluation_labels is not None:
            labelled = partial(labelled_measure, read_images(spark, options.evaluation), options.evaluation_labels)
        if calibration is None:
            yield calibration_set([_pattern(options.preprocess.input_size)], options.preprocess), None, labelled
            return
        with spark_calibration(
            read_images(spark, calibration.input, glob=calibration.glob), options.preprocess, images=calibration.images,
            hold_out=labelled is None and config.recipe != "none", place=calibration.input,
        ) as found:
            yield found.calibration, found.held_out, labelled


def _pattern(input_size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """An image for the golden input where there is none: the same bytes on every machine, no two regions alike."""
    import numpy as np

    row, column = np.indices(input_size)
    channels = [row * 5 + column * 3 + row * column // 7, row * 2 + column * 7, row * column // 3 + column]
    return (np.stack(channels, axis=2) % 256).astype(np.uint8)


def _page(
    options: ArtifactOptions, name: str, model: Any, calibration: CalibrationSet, config: QuantizationConfig, *,
    artifact: ModelArtifact | None, attempts: Sequence[Attempt],
) -> str:
    from sparkq.quantization.diagnosis import diagnose
    from sparkq.report.quantization import QuantizationReport, render_quantization_report

    asked = config if artifact is None else artifact.manifest.quantization
    return render_quantization_report(QuantizationReport(
        name=name, output=options.output, asked=config, target=options.target(),
        attempts=attempts, artifact=artifact, calibration_images=calibration.count,
        calibration_fingerprint=calibration.fingerprint, diagnosis=diagnose(model, calibration, options.preprocess, asked),
    ))


def _write_report(path: str, page: str) -> None:
    from sparkq.report.quantization import write_quantization_report

    write_quantization_report(path, page)


def _result(options: ArtifactOptions, artifact: ModelArtifact, attempts: list[Attempt]) -> dict[str, Any]:
    from sparkq.gate import chosen_attempt, gate_table

    manifest = artifact.manifest
    chosen = chosen_attempt(artifact, attempts)
    return {
        "output": shown(options.output),
        "name": manifest.name,
        "recipe": manifest.quantization.recipe if chosen is None else attempts[chosen].recipe,
        "model_digest": artifact.digest,
        "task": manifest.task,
        "classes": manifest.classes,
        "output_length": manifest.output_length,
        "embedding_layer": manifest.embedding_layer,
        "input_size": list(manifest.input_size),
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


def show_artifact(result: dict[str, Any]) -> str:
    """For people."""
    float_mb, artifact_mb = result["float_bytes"] / 1e6, result["artifact_bytes"] / 1e6
    calibrated = f", calibrated on {result['calibration_images']} images" if result["calibration_images"] else ""
    height, width = result["input_size"]
    gives = f"{result['classes']} classes" if result["classes"] else (
        f"embeddings of {result['output_length']} numbers, layer {result['embedding_layer']}"
    )
    lines = [
        f"{result['output']}: {result['name']}, recipe {result['recipe']}{calibrated}",
        *([f"from    {result['model']}"] if "model" in result else []),
        f"takes   {height} x {width}, {gives}",
        f"size    {artifact_mb:.2f} MB (float {float_mb:.2f} MB, {float_mb / artifact_mb:.2f} times)",
        f"digest  {result['model_digest']}",
        *result["table"].splitlines(),
    ]
    if result["recipe"] != "none" and result["float_layers"]:
        lines.append(f"float   {len(result['float_layers'])} layers stayed in float: {', '.join(result['float_layers'][:5])}")
    if result["report"] is not None:
        lines.append(f"report  {result['report']}")
    return "\n".join(lines)
