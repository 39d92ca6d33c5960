"""How the gate measures where there are no labels: on images held out from calibration. Runs on the driver."""
from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from sparkq.artifact.file import ModelArtifact
from sparkq.errors import InputError
from sparkq.metrics.sqnr import sqnr_db, sqnr_of
from sparkq.model_tasks import Classification, Detection, cosine_similarity
from sparkq.model_tasks.detection.agreement import BoxAgreement
from sparkq.quantization.gate.expected_loss import LossEstimate, expected_losses
from sparkq.quantization.gate.measured import Measured
from sparkq.quantization.gate.target import MOST_IMAGES, GateTarget
from sparkq.quantization.gate.views import VIEWS, shifted
from sparkq.quantization.steps import counted
from sparkq.worker.predictor import Predictor

__all__ = ["measure_pixels", "split_held_out"]

_BATCH = 16
_LEAST_SPLIT = 10
_FEWER_IMAGES = (40, 100, 250)
_MOST_VIEWED = 2500

Item = TypeVar("Item")
Outputs = npt.NDArray[np.float32]


def split_held_out(items: list[Item]) -> tuple[list[Item], list[Item]]:
    """(to calibrate on, to measure on): every fifth is held out; of fewer than ten all serve both."""
    if len(items) < _LEAST_SPLIT:
        return items, items
    return [item for index, item in enumerate(items) if index % 5], items[::5]


def measure_pixels(
    float_artifact: ModelArtifact, images: npt.NDArray[np.uint8], target: GateTarget,
) -> Callable[[ModelArtifact], Measured]:
    """A measure of artifacts against their float model on preprocessed images. On this machine.

    Parameters
    ----------
    float_artifact : ModelArtifact
        What INT8 is compared with.
    images : ndarray of uint8 [N, H, W, 3]
        Which none of them was calibrated on. Of a classification only as many are looked at, and in as many views, as show
        whether the target is reached.
    target : GateTarget
        What must be reached.
    """
    floating = Predictor(float_artifact, allow_saturation=True)
    if isinstance(floating.model_task, Classification):
        return _Labels(floating, floating.model_task, images, target)

    def measure(artifact: ModelArtifact) -> Measured:
        int8 = Predictor(artifact, allow_saturation=True)
        if isinstance(int8.model_task, Detection):
            return _boxes_alike(int8, floating, int8.model_task, images)
        outputs, expected = _run(int8, images), _run(floating, images)
        sqnr = sqnr_of(expected, outputs)
        return _vectors_alike(expected, outputs, sqnr if math.isfinite(sqnr) else None)

    return measure


def _run(predictor: Predictor, images: npt.NDArray[np.uint8]) -> Outputs:
    starts = range(0, len(images), _BATCH)
    return np.concatenate([predictor.engine.run(images[start:start + _BATCH]) for start in counted("measuring", starts)])


class _Labels:
    """Labels of INT8 and float, on more images and then in more views until it is clear whether the target is reached."""

    def __init__(
        self, floating: Predictor, task: Classification, images: npt.NDArray[np.uint8], target: GateTarget,
    ) -> None:
        self.floating, self.task, self.target = floating, task, target
        self.images = images[:MOST_IMAGES]
        self._expected: dict[tuple[int, int, int], Outputs] = {}

    def __call__(self, artifact: ModelArtifact) -> Measured:
        predictor = Predictor(artifact, allow_saturation=True)
        parts: dict[int, list[tuple[Outputs, Outputs]]] = {}
        reached: dict[int, int] = {}
        steps = list(_steps(len(self.images)))
        for images, views in steps:
            for view in range(views):
                start = reached.get(view, 0)
                if start < images:
                    parts.setdefault(view, []).append(self._pair(predictor, view, start, images))
                    reached[view] = images
            losses = np.stack([
                np.concatenate([expected_losses(self.task.probabilities(one), other) for one, other in parts[view]])
                for view in range(views)
            ], axis=1)
            estimate = LossEstimate.of(losses, is_last=(images, views) == steps[-1])
            limit = self.target.max_accuracy_drop
            if self.target.min_agreement is None and (estimate.at_most <= limit or estimate.at_least > limit):
                break
        expected, outputs = (np.concatenate(arrays) for arrays in zip(*parts[0], strict=True))
        return _labels_alike(expected, outputs, estimate, views)

    def _pair(self, predictor: Predictor, view: int, start: int, end: int) -> tuple[Outputs, Outputs]:
        seen = shifted(self.images[start:end], view)
        key = view, start, end
        if key not in self._expected:
            self._expected[key] = _run(self.floating, seen)
        return self._expected[key], _run(predictor, seen)


def _steps(images: int) -> Iterator[tuple[int, int]]:
    """(images, views) to look at, ever more."""
    yield from ((count, 1) for count in _FEWER_IMAGES if count < images)
    yield images, 1
    yield from ((images, views) for views in (3, VIEWS) if images * views <= _MOST_VIEWED)


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


def _labels_alike(expected: Outputs, outputs: Outputs, loss: LossEstimate, views: int) -> Measured:
    sqnr = sqnr_of(expected, outputs)
    return Measured(
        len(outputs), 100 * float((outputs.argmax(1) == expected.argmax(1)).mean()), sqnr if math.isfinite(sqnr) else None,
        standard_error=round(loss.standard_error, 3), expected_loss=round(loss.mean, 4),
        expected_loss_at_most=round(loss.at_most, 4), views=views,
    )


def _vectors_alike(expected: Outputs, outputs: Outputs, sqnr_db: float | None) -> Measured:
    cosines = cosine_similarity(expected, outputs)
    # Of a single image nothing is known of the spread.
    error = None if len(cosines) < 2 else round(float(cosines.std(ddof=1)) / math.sqrt(len(cosines)), 6)
    return Measured(
        len(cosines), None, sqnr_db, standard_error=error, mean_cosine=round(float(cosines.mean()), 6),
        least_cosine=round(float(cosines.min()), 6),
    )
