"""How the gate measures where there are no labels: on images held out from calibration. Runs on the driver."""
from __future__ import annotations

import math
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from sparkq.artifact import ModelArtifact
from sparkq.gate.measured import Measured, agreement_error
from sparkq.predictor import Predictor
from sparkq.sqnr import sqnr_of

__all__ = ["measure_pixels", "split_held_out"]

_BATCH = 16
_LEAST_SPLIT = 10

Item = TypeVar("Item")


def split_held_out(items: list[Item]) -> tuple[list[Item], list[Item]]:
    """(to calibrate on, to measure on): every fifth is held out; of fewer than ten all serve both."""
    if len(items) < _LEAST_SPLIT:
        return items, items
    return [item for index, item in enumerate(items) if index % 5], items[::5]


def measure_pixels(artifact: ModelArtifact, float_artifact: ModelArtifact, images: npt.NDArray[np.uint8]) -> Measured:
    """Compare an artifact with its float model on preprocessed images, uint8 [N, H, W, 3], on this machine."""
    int8, floating = (Predictor(one, allow_saturation=True).engine for one in (artifact, float_artifact))
    outputs, expected = (
        np.concatenate([engine.run(images[start:start + _BATCH]) for start in range(0, len(images), _BATCH)])
        for engine in (int8, floating)
    )
    agreement = 100 * float((outputs.argmax(1) == expected.argmax(1)).mean())
    sqnr = sqnr_of(expected, outputs)
    return Measured(
        len(images), agreement, sqnr if math.isfinite(sqnr) else None,
        standard_error=round(agreement_error(agreement, len(images)), 3),
    )
