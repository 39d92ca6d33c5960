"""How the gate measures where there are no labels: on images held out from calibration. Runs on the driver."""
from __future__ import annotations

import math
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from sparkq.artifact.file import ModelArtifact
from sparkq.errors import InputError
from sparkq.metrics.sqnr import sqnr_db, sqnr_of
from sparkq.model_tasks import Detection, cosine_similarity
from sparkq.model_tasks.detection.agreement import BoxAgreement
from sparkq.quantization.gate.measured import Measured, agreement_error
from sparkq.worker.predictor import Predictor

__all__ = ["measure_pixels", "split_held_out"]

_BATCH = 16
_LEAST_SPLIT = 10

Item = TypeVar("Item")
Outputs = npt.NDArray[np.float32]


def split_held_out(items: list[Item]) -> tuple[list[Item], list[Item]]:
    """(to calibrate on, to measure on): every fifth is held out; of fewer than ten all serve both."""
    if len(items) < _LEAST_SPLIT:
        return items, items
    return [item for index, item in enumerate(items) if index % 5], items[::5]


def measure_pixels(artifact: ModelArtifact, float_artifact: ModelArtifact, images: npt.NDArray[np.uint8]) -> Measured:
    """Compare an artifact with its float model on preprocessed images, uint8 [N, H, W, 3], on this machine."""
    int8, floating = (Predictor(one, allow_saturation=True) for one in (artifact, float_artifact))
    if isinstance(int8.model_task, Detection):
        return _boxes_alike(int8, floating, int8.model_task, images)
    outputs, expected = (
        np.concatenate([predictor.engine.run(images[start:start + _BATCH]) for start in range(0, len(images), _BATCH)])
        for predictor in (int8, floating)
    )
    sqnr = sqnr_of(expected, outputs)
    measured = _labels_alike if artifact.manifest.task == "classification" else _vectors_alike
    return measured(expected, outputs, sqnr if math.isfinite(sqnr) else None)


def _boxes_alike(int8: Predictor, floating: Predictor, task: Detection, images: npt.NDArray[np.uint8]) -> Measured:
    """Batch by batch: outputs of SSD300 are megabytes an image."""
    agreement, signal, noise = BoxAgreement(), 0.0, 0.0
    for start in range(0, len(images), _BATCH):
        outputs, expected = (one.engine.run(images[start:start + _BATCH]) for one in (int8, floating))
        signal += float((expected.astype(np.float64) ** 2).sum())
        noise += float(((expected.astype(np.float64) - outputs) ** 2).sum())
        for pair in zip(expected, outputs, strict=True):
            agreement.add(*map(task.detector.detect, pair))
    if agreement.f1 is None:
        raise InputError(
            f"gate: expected boxes with a score above {task.config.score_threshold:g} on the {len(images)} images that INT8 is "
            "compared with float on; neither model finds any.",
            hint="give images that show what the network was trained to find, check the weights and preprocess, or lower "
            "--detection-score-threshold.",
        )
    error = agreement.standard_error
    return Measured(
        len(images), round(100 * agreement.f1, 10), sqnr_db(signal, noise) if noise else None,
        standard_error=None if error is None else round(100 * error, 3), boxes=sum(agreement.boxes),
    )


def _labels_alike(expected: Outputs, outputs: Outputs, sqnr_db: float | None) -> Measured:
    agreement = 100 * float((outputs.argmax(1) == expected.argmax(1)).mean())
    error = agreement_error(agreement, len(outputs))
    return Measured(len(outputs), agreement, sqnr_db, standard_error=round(error, 3))


def _vectors_alike(expected: Outputs, outputs: Outputs, sqnr_db: float | None) -> Measured:
    cosines = cosine_similarity(expected, outputs)
    # Of a single image nothing is known of the spread.
    error = None if len(cosines) < 2 else round(float(cosines.std(ddof=1)) / math.sqrt(len(cosines)), 6)
    return Measured(
        len(cosines), None, sqnr_db, standard_error=error, mean_cosine=round(float(cosines.mean()), 6),
        least_cosine=round(float(cosines.min()), 6),
    )
