"""Warnings of calibration images that are too few, or odd: the ranges that they give cost accuracy."""
from __future__ import annotations

import weakref

import numpy as np
import numpy.typing as npt
from torch import Tensor

from sparkq.quantization.calibration.image_set import CalibrationSet
from sparkq.redaction import get_logger

__all__ = ["image_complaints", "label_complaints", "warn_once"]

_logger = get_logger(__name__)
_LEAST_IMAGES = 32
# Shares of the sample.
_NEARLY_ALL, _HALF, _MANY_COPIES = 0.95, 0.5, 0.2
# Levels between the 1st and the 99th percentile: less is a lens cap, fog or a blank page.
_LEAST_CONTRAST = 8
_LEAST_LABELLED, _MANY_CLASSES = 16, 5
_warned: weakref.WeakSet[CalibrationSet] = weakref.WeakSet()


def warn_once(calibration: CalibrationSet, outputs: object) -> None:
    """Log one warning for each thing that is odd about a set, once a set however often it is used.

    Parameters
    ----------
    calibration : CalibrationSet
        Judged by its sample and its size.
    outputs : Tensor
        float32 [M, C], the float model's answers to the first M images of the sample; anything else says nothing.
    """
    if calibration in _warned:
        return
    _warned.add(calibration)
    of_labels = label_complaints(outputs.numpy()) if isinstance(outputs, Tensor) else []
    for complaint in (*image_complaints(calibration.images, calibration.count), *of_labels):
        _logger.warning("calibration: %s", complaint)


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


def label_complaints(outputs: npt.NDArray[np.float32]) -> list[str]:
    """Find what is odd about a float model's answers [M, C] to a fair sample."""
    if outputs.ndim != 2 or len(outputs) < _LEAST_LABELLED or outputs.shape[1] < _MANY_CLASSES:
        return []
    label, images = max(enumerate(np.bincount(outputs.argmax(1))), key=lambda pair: pair[1])
    if images < _NEARLY_ALL * len(outputs):
        return []
    return [
        f"the float model gives {images} of {len(outputs)} images the same label ({label}), although it knows "
        f"{outputs.shape[1]}. Hint: calibrate on images of all classes, and check preprocess (mean, std, channel order)."
    ]


def _is_gray(image: npt.NDArray[np.uint8]) -> bool:
    return bool((image[..., 0] == image[..., 1]).all() and (image[..., 1] == image[..., 2]).all())


def _contrast(image: npt.NDArray[np.uint8]) -> float:
    step = max(1, min(image.shape[:2]) // 64)
    low, high = np.percentile(image[::step, ::step], (1, 99))
    return float(high - low)
