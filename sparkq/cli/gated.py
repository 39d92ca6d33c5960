"""What ``sparkq quantize`` and ``sparkq convert`` share: no INT8 artifact is made but through the gate."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any

from sparkq.artifact import ModelArtifact
from sparkq.config import CalibrationConfig, PreprocessConfig, QuantizationConfig

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import nn

    from sparkq.gate import Attempt, GateTarget, Measured
    from sparkq.quantization.calibration import CalibrationSet
    from sparkq.spark.calibration import SparkCalibration

__all__ = ["calibrated", "make_gated"]


def calibrated(
    spark: Any, chosen: CalibrationConfig, preprocess: PreprocessConfig, *, hold_out: bool,
) -> AbstractContextManager[SparkCalibration]:
    """The calibration images that the options name, preprocessed on executors while the context lasts."""
    from sparkq.spark.calibration import spark_calibration
    from sparkq.spark.sources import read_images

    images_df = read_images(spark, chosen.input, glob=chosen.glob)
    return spark_calibration(images_df, preprocess, images=chosen.images, hold_out=hold_out, place=chosen.input)


def make_gated(
    model: nn.Module, calibration: CalibrationSet, preprocess: PreprocessConfig, config: QuantizationConfig, target: GateTarget,
    *, held_out: npt.NDArray[np.uint8] | None = None, labels: Sequence[str] | None = None, name: str | None = None,
    labelled: Callable[[ModelArtifact], Callable[[ModelArtifact], Measured]] | None = None,
) -> tuple[ModelArtifact, list[Attempt]]:
    """Make an artifact that reaches `target`, and tell what was tried.

    Parameters
    ----------
    model, preprocess, labels, name
        As for `sparkq.quantize`.
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
    from sparkq.gate import measure_pixels, pass_gate
    from sparkq.quantization import quantize
    from sparkq.quantization.mixed import float_order

    # A copy of a traced model has another class.
    make = partial(
        quantize, model, calibration=calibration, preprocess=preprocess, labels=labels, name=name or type(model).__name__,
    )
    if config.recipe == "none":
        return make(config=config), []
    reference = make(config=QuantizationConfig(recipe="none"))
    pixels = calibration.images if held_out is None else held_out
    measure = partial(measure_pixels, float_artifact=reference, images=pixels) if labelled is None else labelled(reference)
    return pass_gate(
        lambda candidate: make(config=candidate), measure, config=config, target=target,
        float_order=lambda asked: float_order(model.eval(), calibration, preprocess, asked),
    )
