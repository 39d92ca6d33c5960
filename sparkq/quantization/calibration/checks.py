"""Warnings of calibration images that are too few, or odd: the ranges that they give cost accuracy."""
from __future__ import annotations

import weakref
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sparkq.metrics.plausibility import LEAST_IMAGES, one_label_warning
from sparkq.quantization.calibration.image_set import CalibrationSet
from sparkq.redaction import get_logger

__all__ = ["image_complaints", "warn_of_images", "warn_of_labels"]

_logger = get_logger(__name__)
_LEAST_IMAGES = 32
# Shares of the sample.
_NEARLY_ALL, _HALF, _MANY_COPIES = 0.95, 0.5, 0.2
# Levels between the 1st and the 99th percentile: less is a lens cap, fog or a blank page.
_LEAST_CONTRAST = 8
_warned: weakref.WeakSet[CalibrationSet] = weakref.WeakSet()
_labelled: weakref.WeakSet[CalibrationSet] = weakref.WeakSet()


def warn_of_images(calibration: CalibrationSet) -> None:
    """Log one warning for each thing that is odd about the images of a set, once a set however often it is used."""
    if calibration not in _warned:
        _warned.add(calibration)
        for complaint in image_complaints(calibration.images, calibration.count):
            _logger.warning("calibration: %s", complaint)


def warn_of_labels(
    calibration: CalibrationSet, outputs: npt.NDArray[np.float32], *, names: Sequence[str] | None = None,
) -> None:
    """Log a warning if the float model gives (nearly) all images of a set the same label, once a set.

    Parameters
    ----------
    calibration : CalibrationSet
        Whose images stand in the order of their digests, so that the first ones are a fair sample.
    outputs : ndarray of float32 [M, C]
        The float model's, of the first images.
    names : sequence of str, optional
        Of the classes.
    """
    if calibration in _labelled or len(outputs) < LEAST_IMAGES or outputs.ndim != 2:
        return
    _labelled.add(calibration)
    counts = dict(enumerate(np.bincount(outputs.argmax(1)).tolist()))
    warning = one_label_warning(counts, classes=outputs.shape[1], names=names, model="the float model")
    if warning is not None:
        _logger.warning("calibration: %s", warning)


def image_complaints(sample: npt.NDArray[np.uint8], count: int) -> list[str]:
    """Find what is odd about a set of `count` images of which `sample` (uint8 [N, H, W, 3]) is a fair sample."""
    complaints = []
    if count < _LEAST_IMAGES:
        complaints.append(
            f"{count} images are few to measure activation ranges on. Hint: give 100 to 500 images like those of the job."
        )
    gray = np.array([_is_gray(image) for image in sample])
    if gray.mean() > _NEARLY_ALL:
        complaints.append(
            f"{100 * gray.mean():.0f} % of the images are gray (red, green and blue alike). Hint: calibrate on colour images, "
            "unless the job's images are gray as well."
        )
    flat = np.array([_contrast(image) < _LEAST_CONTRAST for image in sample])
    if flat.mean() > _HALF:
        complaints.append(
            f"{100 * flat.mean():.0f} % of the images have nearly no contrast (black, blank or fogged). Hint: calibrate on "
            "images like those of the job."
        )
    copies = len(sample) - len({image.tobytes() for image in sample})
    if copies > _MANY_COPIES * len(sample):
        complaints.append(
            f"{100 * copies / len(sample):.0f} % of the images are exact copies of others, and show nothing new. Hint: leave "
            "copies out and give other images."
        )
    return complaints


def _is_gray(image: npt.NDArray[np.uint8]) -> bool:
    return bool((image[..., 0] == image[..., 1]).all() and (image[..., 1] == image[..., 2]).all())


def _contrast(image: npt.NDArray[np.uint8]) -> float:
    step = max(1, min(image.shape[:2]) // 64)
    low, high = np.percentile(image[::step, ::step], (1, 99))
    return float(high - low)
