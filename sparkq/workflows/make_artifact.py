"""Make an artifact of a float model, through the gate, and write it; with its report, where one is asked for."""
from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from sparkq.artifact.file import ModelArtifact
from sparkq.config import ArtifactJob, CalibrationConfig, ModelTaskConfig, PreprocessConfig, QuantizationConfig
from sparkq.errors import GateError
from sparkq.storage import shown
from sparkq.workflows.places import require_input, require_writable

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

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
    from sparkq.float_models.load import load_float_model, require_image_shape
    from sparkq.float_models.published_preprocess import published_preprocess
    from sparkq.model_tasks.labels import read_label_names
    from sparkq.quantization.task_model import task_model
    from sparkq.workflows.quantize import make_gated

    # What can be wrong without Spark is found before Spark is started, and a float artifact needs no Spark at all.
    target = _target(options)
    _require_places(options, calibration)
    model = load_float_model(options.model, options.weights)
    preprocess = options.preprocess or published_preprocess(model)
    require_image_shape(model, preprocess.input_size)
    name = options.name or type(model).__name__
    model, task = task_model(model, options.model_task_config(), preprocess)
    labels = None if options.labels is None else read_label_names(options.labels)
    _require_labels(options, model, task, preprocess, labels)
    with _images(options, preprocess, calibration, config) as (found, held_out, labelled):
        page = partial(_page, options, name, preprocess, model, found, config)
        try:
            artifact, attempts = make_gated(
                model, found, preprocess, config, target, held_out=held_out, labels=labels, name=name, labelled=labelled,
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


def _require_places(options: ArtifactJob, calibration: CalibrationConfig | None) -> None:
    from sparkq.report.quantization.extra import check_report

    for images in (None if calibration is None else calibration.input, options.evaluation):
        if images is not None:
            require_input(images)
    require_writable(options.output, what="artifact", is_folder=False)
    if options.report is not None:
        check_report(options.report)


def _require_labels(
    options: ArtifactJob, model: Any, task: ModelTaskConfig, preprocess: PreprocessConfig, labels: Sequence[str] | None,
) -> None:
    """Compare a classifier's labels with the outputs that it gives for one image, before any is calibrated on."""
    if task.name != "classification" or (labels is None and options.evaluation_labels is None):
        return
    import torch

    from sparkq.model_tasks import Classification
    from sparkq.model_tasks.labels import read_labels_csv

    was_training = model.training
    with torch.inference_mode():
        outputs = model.eval()(torch.zeros(1, 3, *preprocess.input_size)).numpy()
    model.train(was_training)
    if outputs.ndim != 2:
        # What is wrong with such a model is told where it is quantized.
        return
    Classification.of_outputs(outputs, labels=labels, config=task, input_size=preprocess.input_size)
    if options.evaluation_labels is not None:
        read_labels_csv(
            options.evaluation_labels, classes=outputs.shape[1], names=None if labels is None else tuple(labels),
        )


@contextmanager
def _images(
    options: ArtifactJob, preprocess: PreprocessConfig, calibration: CalibrationConfig | None, config: QuantizationConfig,
) -> Iterator[tuple[CalibrationSet, npt.NDArray[np.uint8] | None, Any]]:
    """The calibration images, preprocessed on executors while the context lasts, and what the gate measures on."""
    if calibration is None and options.evaluation is None:
        from sparkq.quantization.calibration.image_set import calibration_set

        yield calibration_set([_pattern(preprocess.input_size)], preprocess), None, None
        return
    from sparkq.quantization.calibration.image_set import calibration_set
    from sparkq.spark.calibration.prepare import spark_calibration
    from sparkq.spark.evaluation.gate_measure import labelled_measure
    from sparkq.spark.input.sources import read_images
    from sparkq.spark.session.session import session_for

    with session_for(options.master) as spark:
        labelled = None
        if options.evaluation is not None and options.evaluation_labels is not None:
            labelled = partial(labelled_measure, read_images(spark, options.evaluation), options.evaluation_labels)
        if calibration is None:
            yield calibration_set([_pattern(preprocess.input_size)], preprocess), None, labelled
            return
        with spark_calibration(
            read_images(spark, calibration.input, glob=calibration.glob), preprocess, images=calibration.images,
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
    options: ArtifactJob, name: str, preprocess: PreprocessConfig, model: Any, calibration: CalibrationSet,
    config: QuantizationConfig, *, artifact: ModelArtifact | None, attempts: Sequence[GateAttempt],
) -> str:
    from sparkq.quantization.diagnosis import diagnose
    from sparkq.report.quantization.quantization import QuantizationReport, render_quantization_report

    asked = config if artifact is None else artifact.manifest.quantization
    return render_quantization_report(QuantizationReport(
        name=name, output=options.output, asked=config, target=_target(options),
        attempts=attempts, artifact=artifact, calibration_images=calibration.count,
        calibration_fingerprint=calibration.fingerprint, diagnosis=diagnose(model, calibration, preprocess, asked),
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


def _target(job: ArtifactJob) -> GateTarget:
    """The least that the gate asks for, checked."""
    from sparkq.quantization.gate import GateTarget

    return GateTarget(job.max_accuracy_drop, job.min_agreement, job.min_cosine, job.task)
