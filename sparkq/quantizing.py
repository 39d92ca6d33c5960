"""`quantize` as the public name: calibration images on the driver, or in a DataFrame."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from sparkq.artifact import ModelArtifact
from sparkq.config import PreprocessConfig, QuantizationConfig
from sparkq.quantization import quantize as quantize_on_driver

__all__ = ["quantize"]


def quantize(
    model: nn.Module, *, calibration: Any, preprocess: PreprocessConfig, labels: Sequence[str] | None = None,
    config: QuantizationConfig | None = None, name: str | None = None,
) -> ModelArtifact:
    """Make an artifact of a float classification model. Runs on the driver; a DataFrame is calibrated on by executors.

    Parameters
    ----------
    model : nn.Module
        Takes float32 [N, 3, H, W], returns float [N, C]. It is not changed.
    calibration : DataFrame or iterable
        Images like those of the job. A pyspark DataFrame of any size with a binary or image column, as `sparkq.read_images`
        gives it; or uint8 [H, W, 3] RGB arrays of any size and encoded bytes. Both give the same artifact of the same images,
        whatever their order and partitioning. They are preprocessed as inference will. Recipe ``none`` takes only the
        golden input from them.
    preprocess : PreprocessConfig
        From an image to the model's input.
    labels : sequence of str, optional
        Name of each class, length C.
    config : QuantizationConfig, optional
        Default: static INT8.
    name : str, optional
        Default: the model's class name.

    Returns
    -------
    ModelArtifact
        With the payload's answer to a golden input, computed here.

    Raises
    ------
    InputError
        If calibration images or labels cannot be used.
    ModelError
        If the model cannot be traced or quantized.
    EngineError
        If this machine cannot run the payload.
    """
    if not _is_dataframe(calibration):
        return quantize_on_driver(
            model, calibration=calibration, preprocess=preprocess, labels=labels, config=config, name=name,
        )
    # Only who has a DataFrame has pyspark.
    from sparkq.spark.calibration import spark_calibration

    with spark_calibration(calibration, preprocess, hold_out=False) as found:
        return quantize_on_driver(
            model, calibration=found.calibration, preprocess=preprocess, labels=labels, config=config, name=name,
        )


def _is_dataframe(calibration: object) -> bool:
    return any(kind.__module__.startswith("pyspark.sql.") for kind in type(calibration).__mro__)
