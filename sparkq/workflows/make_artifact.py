"""Make an artifact of a float model, through the gate, and write it; with its report, where one is asked for."""
from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from sparkq.artifact.file import ModelArtifact
from sparkq.config import ArtifactJob, CalibrationConfig, ModelTaskConfig, PreprocessConfig, QuantizationConfig
from sparkq.config.parsing import to_mapping
from sparkq.errors import GateError
from sparkq.metrics.plausibility import calibration_warnings
from sparkq.storage import shown
from sparkq.workflows.pattern import pattern_image
from sparkq.workflows.places import require_input, require_writable

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import nn

    from sparkq.quantization.calibration.image_set import CalibrationSet
    from sparkq.quantization.gate import GateAttempt, GateTarget

__all__ = ["make_artifact"]


def make_artifact(
    options: ArtifactJob, calibration: CalibrationConfig | None, config: QuantizationConfig,
) -> dict[str, Any]:
    """Make what the options ask for and write it, and the report if one is wanted; what the command tells of it.

    Raises
    ------
    GateError
        If nothing reaches the target; where a report is wanted it is written, and the message names it.
    """
    from sparkq.workflows.quantize import make_gated

    config = config.with_effort(options.effort)
    # What can be wrong without Spark is found before Spark is started, and a float artifact needs no Spark at all.
    target = _target(options)
    _require_places(options, calibration)
    given = _float_model(options)
    _require_labels(options, given)
    with _images(options, given.preprocess, calibration, config) as (found, held_out, labelled):
        page = partial(_page, options, given, found, config, with_sheet=calibration is not None)
        try:
            artifact, attempts = make_gated(
                given.model, found, given.preprocess, config, target, held_out=held_out, labelled=labelled, **given.described(),
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


def _require_places(options: ArtifactJob, calibration: CalibrationConfig | None) -> None:
    from sparkq.report.quantization.extra import check_report

    for images in (None if calibration is None else calibration.input, options.evaluation):
        if images is not None:
            require_input(images)
    require_writable(options.output, what="artifact", is_folder=False)
    if options.report is not None:
        check_report(options.report)


def _require_labels(options: ArtifactJob, given: _FloatModel) -> None:
    """Compare a classifier's labels with the outputs that it gives for one image, before any is calibrated on."""
    if given.task.name != "classification" or (given.labels is None and options.evaluation_labels is None):
        return
    import torch

    from sparkq.model_tasks import Classification
    from sparkq.model_tasks.labels import read_labels_csv

    try:
        with torch.no_grad():
            outputs = copy.deepcopy(given.model).eval()(torch.zeros(1, 3, *given.preprocess.input_size)).numpy()
        _, classes = outputs.shape
    # The user's code. What is wrong with such a model is told where it is quantized.
    except Exception:
        return
    Classification.of_outputs(outputs, labels=given.labels, config=given.task, input_size=given.preprocess.input_size)
    if options.evaluation_labels is not None:
        read_labels_csv(options.evaluation_labels, classes=classes, names=given.labels)


@dataclass(frozen=True, eq=False)
class _FloatModel:
    """A float model, ready for its task, and all that its artifact says of it."""

    name: str
    model: nn.Module
    task: ModelTaskConfig
    labels: tuple[str, ...] | None
    preprocess: PreprocessConfig
    preprocess_origin: dict[str, str]

    def described(self) -> dict[str, Any]:
        return {"name": self.name, "task": self.task, "labels": self.labels, "preprocess_origin": self.preprocess_origin}


def _float_model(options: ArtifactJob) -> _FloatModel:
    from sparkq.float_models.load import load_float_model, require_image_shape
    from sparkq.float_models.published_preprocess import resolved_preprocess
    from sparkq.model_tasks.labels import read_label_names
    from sparkq.quantization.task_model import task_model

    model = load_float_model(options.model, options.weights)
    resolved = resolved_preprocess(model, options.preprocess)
    require_image_shape(model, resolved.config.input_size)
    # Its parts have another class.
    name = options.name or type(model).__name__
    model, task = task_model(model, options.model_task_config(), resolved.config)
    labels = None if options.labels is None else tuple(read_label_names(options.labels))
    return _FloatModel(name, model, task, labels, resolved.config, resolved.origin)


@contextmanager
def _images(
    options: ArtifactJob, preprocess: PreprocessConfig, calibration: CalibrationConfig | None, config: QuantizationConfig,
) -> Iterator[tuple[CalibrationSet, npt.NDArray[np.uint8] | None, Any]]:
    """The calibration images, preprocessed on executors while the context lasts, and what the gate measures on."""
    if calibration is None and options.evaluation is None:
        from sparkq.quantization.calibration.image_set import calibration_set

        yield calibration_set([pattern_image(preprocess.input_size)], preprocess), None, None
        return
    from sparkq.quantization.calibration.image_set import calibration_set
    from sparkq.quantization.steps import is_heard
    from sparkq.spark.calibration.prepare import spark_calibration
    from sparkq.spark.evaluation.gate_measure import labelled_measure
    from sparkq.spark.input.sources import read_images
    from sparkq.spark.session.session import session_for

    # Spark's own bar would write over that of the steps.
    with session_for(options.master, console_progress=not is_heard()) as spark:
        labelled = None
        if options.evaluation is not None and options.evaluation_labels is not None:
            labelled = partial(labelled_measure, read_images(spark, options.evaluation), options.evaluation_labels)
        if calibration is None:
            yield calibration_set([pattern_image(preprocess.input_size)], preprocess), None, labelled
            return
        with spark_calibration(
            read_images(spark, calibration.input, glob=calibration.glob), preprocess, images=calibration.images,
            hold_out=labelled is None and config.recipe != "none", place=calibration.input,
        ) as found:
            yield found.calibration, found.held_out, labelled


def _page(
    options: ArtifactJob, given: _FloatModel, calibration: CalibrationSet, config: QuantizationConfig, *, with_sheet: bool,
    artifact: ModelArtifact | None, attempts: Sequence[GateAttempt],
) -> str:
    from sparkq.quantization import quantize
    from sparkq.quantization.diagnosis import diagnose
    from sparkq.report.quantization.quantization import QuantizationReport, render_quantization_report
    from sparkq.workflows.preview import calibration_seen

    asked = config if artifact is None else artifact.manifest.quantization
    # Where nothing was written, the sheet shows whether it is the float model's fault.
    seen_by = artifact or quantize(
        given.model, calibration=calibration, preprocess=given.preprocess, config=QuantizationConfig(recipe="none"),
        **given.described(),
    )
    return render_quantization_report(QuantizationReport(
        name=given.name, output=options.output, asked=config, target=_target(options),
        attempts=attempts, artifact=artifact, calibration_images=calibration.count,
        calibration_fingerprint=calibration.fingerprint,
        diagnosis=diagnose(given.model, calibration, given.preprocess, asked),
        seen_by=seen_by.manifest, seen=calibration_seen(seen_by, calibration.images) if with_sheet else (),
    ))


def _write_report(path: str, page: str) -> None:
    from sparkq.report.quantization.quantization import write_quantization_report

    write_quantization_report(path, page)


def _result(options: ArtifactJob, artifact: ModelArtifact, attempts: list[GateAttempt]) -> dict[str, Any]:
    from sparkq.quantization.gate import chosen_attempt, gate_table

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
        "preprocess": to_mapping(manifest.preprocess),
        "preprocess_origin": manifest.preprocess_origin,
        "calibration_images": manifest.calibration_images,
        "accuracy": manifest.accuracy,
        "int8_macs_percent": manifest.int8_macs_percent,
        "float_layers": list(manifest.float_layers),
        "float_bytes": manifest.float_bytes,
        "artifact_bytes": len(artifact.dumps()),
        "attempts": [dataclasses.asdict(attempt) for attempt in attempts],
        "table": gate_table(attempts) if attempts else "",
        "warnings": calibration_warnings(manifest),
        "report": None if options.report is None else shown(options.report),
    }


def _target(job: ArtifactJob) -> GateTarget:
    """The least that the gate asks for, checked."""
    from sparkq.quantization.gate import GateTarget

    return GateTarget(job.max_accuracy_drop, job.min_agreement, job.min_cosine, job.task)
