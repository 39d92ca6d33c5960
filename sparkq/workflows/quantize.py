"""`quantize` as the public name: calibration images on the driver or in a DataFrame, and nothing but through the gate."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from sparkq.artifact.file import ModelArtifact
from sparkq.config import DetectionConfig, ModelTaskConfig, PreprocessConfig, QuantizationConfig
from sparkq.errors import InputError
from sparkq.float_models.published_preprocess import GivenPreprocess, resolved_preprocess
from sparkq.quantization import quantize as quantize_ungated
from sparkq.quantization import with_profile
from sparkq.quantization.calibration.image_set import CalibrationSet, calibration_set
from sparkq.quantization.float_side import FloatSide
from sparkq.quantization.gate import GateAttempt, GateTarget, Measured, measure_pixels, pass_gate, split_held_out
from sparkq.quantization.recipes.mixed import float_order
from sparkq.quantization.task_model import task_model

__all__ = ["make_gated", "quantize"]

_Labelled = Callable[[ModelArtifact], Callable[[ModelArtifact], Measured]]


def quantize(
    model: nn.Module, *, calibration: Any, preprocess: GivenPreprocess = None, labels: Sequence[str] | None = None,
    config: QuantizationConfig | None = None, name: str | None = None, evaluation: Any = None,
    evaluation_labels: str | None = None, max_accuracy_drop: float = 0.5, min_agreement: float | None = None,
    task: str = "classification", embedding_layer: str | None = None, min_cosine: float = 0.99,
    detection: DetectionConfig = DetectionConfig(),
) -> ModelArtifact:
    """Make an artifact of a float model that is as accurate as asked. On the driver, and on executors.

    Parameters
    ----------
    model : nn.Module
        A classifier: takes float32 [N, 3, H, W], returns float [N, C]. A detector returns class logits and box offsets of its
        anchors: [N, A, K] and [N, A, 4], or lists of maps, as SSD's heads give them. It is not changed.
    calibration : DataFrame or iterable
        Images like those of the job. A pyspark DataFrame of any size with a binary or image column, as `sparkq.read_images`
        gives it, is decoded and calibrated on by executors; uint8 [H, W, 3] RGB arrays of any size and encoded bytes by the
        driver. They are preprocessed as inference will. Recipe ``none`` takes only the golden input from them.
    preprocess : PreprocessConfig or mapping, optional
        From an image to the model's input. A `PreprocessConfig` says all of it. A mapping says single settings, with the keys
        of ``preprocess`` in a config file, e.g. ``{"resize": {"size": 64}, "crop": 64}``; the others are as the architecture was
        published, for a model of timm, or the default. The manifest's ``preprocess_origin`` says where each comes from.
    labels : sequence of str, optional
        Name of each class, length C; of a detection length K, the first the background's.
    config : QuantizationConfig, optional
        Default: static INT8.
    name : str, optional
        Default: the model's class name.
    evaluation : DataFrame, optional
        Labelled images to measure accuracy on, with a ``path`` column; not the calibration images. Without them INT8 is
        compared with float on some of the calibration images, which are held out.
    evaluation_labels : str, optional
        Their labels: CSV with path and label, as for `sparkq.evaluate`, or boxes, as for `sparkq.evaluate_detections`.
    max_accuracy_drop : float
        Points of top-1 that INT8 may lose on `evaluation`; of a detection, points of mean average precision. Without
        `evaluation`, points of accuracy that a classifier is expected to lose, by the float model's scores on held-out images.
    min_agreement : float, optional
        Without `evaluation`: share (0 to 1) of the held-out images on which both must have the same first label, which then
        decides in place of the expected loss; of a detection, F1 of the boxes against the float model's, by label and an overlap
        of at least a half, by default 0.98.
    task : str
        ``classification``; ``embedding``: the artifact gives the output of one layer, and what lies behind it is left out;
        ``detection``: boxes.
    embedding_layer : str, optional
        Of an embedding: a module's name, a node of the graph that torch.fx makes of the model, or ``output`` for what it returns.
        Planes [N, C, H, W] are averaged to [N, C]. Default: what the classifier's head takes, the last linear layer or the 1 x 1
        convolution in its stead.
    min_cosine : float
        Of an embedding: mean cosine similarity that INT8 must have with float on held-out images.
    detection : DetectionConfig
        Of a detection: its anchors, where the model has no attribute ``anchors``, and which boxes a row keeps.

    Returns
    -------
    ModelArtifact
        With what was measured, and the payload's answer to a golden input.

    Raises
    ------
    GateError
        If no recipe is that accurate.
    ConfigError
        If a setting is not in `preprocess`, the model does not say it, and it has no default: mean, std and crop.
    InputError
        If calibration images or labels cannot be used.
    ModelError
        If the model cannot be traced or quantized.
    EngineError
        If this machine cannot run the payload.
    """
    config = config or QuantizationConfig()
    resolved = resolved_preprocess(model, preprocess)
    settings = resolved.config
    asked = ModelTaskConfig(task, embedding_layer, detection)
    if task == "embedding" and evaluation is not None:
        raise InputError(
            f"evaluation: expected none with task {task}, which has no labels; got one.",
            hint="leave the evaluation out, or quantize for classification.",
        )
    labelled = None if evaluation is None else _labelled(evaluation, evaluation_labels)
    target = GateTarget(max_accuracy_drop, min_agreement, min_cosine, task)
    # Its parts have another class.
    name = name or type(model).__name__
    model, asked = task_model(model, asked, settings)
    make = partial(
        make_gated, model, preprocess=settings, config=config, target=target, labels=labels, name=name, labelled=labelled,
        task=asked, preprocess_origin=resolved.origin,
    )
    hold_out = labelled is None and config.recipe != "none"
    if not _is_dataframe(calibration):
        items = list(calibration)
        if not hold_out:
            return make(calibration_set(items, settings))[0]
        calibrated, held_out = split_held_out(items)
        return make(calibration_set(calibrated, settings), held_out=calibration_set(held_out, settings).images)[0]
    # Only who has a DataFrame has pyspark.
    from sparkq.spark.calibration.prepare import spark_calibration

    with spark_calibration(calibration, settings, hold_out=hold_out) as found:
        return make(found.calibration, held_out=found.held_out)[0]


def _labelled(evaluation: Any, labels: str | None) -> _Labelled:
    from sparkq.spark.evaluation.gate_measure import labelled_measure

    if labels is None or not _is_dataframe(evaluation):
        raise InputError(
            f"evaluation: expected a DataFrame and evaluation_labels, a CSV; got {type(evaluation).__name__} and {labels!r}.",
            hint="sparkq.read_images(spark, path) gives one.",
        )
    return partial(labelled_measure, evaluation, labels)


def _is_dataframe(calibration: object) -> bool:
    return any(kind.__module__.startswith("pyspark.sql.") for kind in type(calibration).__mro__)


def make_gated(
    model: nn.Module, calibration: CalibrationSet, preprocess: PreprocessConfig, config: QuantizationConfig, target: GateTarget,
    *, held_out: npt.NDArray[np.uint8] | None = None, labels: Sequence[str] | None = None, name: str | None = None,
    labelled: _Labelled | None = None, task: ModelTaskConfig = ModelTaskConfig(),
    preprocess_origin: Mapping[str, str] | None = None,
) -> tuple[ModelArtifact, list[GateAttempt]]:
    """Make an artifact that reaches `target`, and tell what was tried.

    Parameters
    ----------
    model, task
        As `sparkq.quantization.task_model.task_model` gives them.
    preprocess, labels, name, preprocess_origin
        As for `sparkq.quantization.quantize`.
    calibration : CalibrationSet
        What is calibrated on.
    config : QuantizationConfig
        What was asked for. Recipe ``none`` has nothing to lose and is not measured.
    target : GateTarget
        What INT8 must reach.
    held_out : ndarray of uint8 [N, H, W, 3], optional
        Preprocessed images to measure on where there are no labelled ones; default: the sample of those calibrated on.
    labelled : callable, optional
        Takes the float artifact and gives a measure on labelled images.

    Raises
    ------
    GateError
        If nothing reaches the target.
    """
    side = FloatSide(model, calibration, preprocess)
    # A copy of a traced model has another class.
    make = partial(
        quantize_ungated, model, calibration=calibration, preprocess=preprocess, labels=labels,
        name=name or type(model).__name__, task=task, preprocess_origin=preprocess_origin, side=side,
    )
    if config.recipe == "none":
        return make(config=config), []
    reference = make(config=QuantizationConfig(recipe="none"))
    pixels = calibration.images if held_out is None else held_out
    measure = measure_pixels(reference, pixels, target) if labelled is None else labelled(reference)
    return pass_gate(
        lambda candidate: make(config=candidate, profiled=False), measure, config=config, target=target,
        float_order=lambda asked: float_order(side.graph(asked), calibration, preprocess, asked),
        finish=lambda artifact: with_profile(artifact, calibration),
    )
