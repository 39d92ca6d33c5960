"""Calibration images: from whatever the user holds to one checked batch at the model's input size."""
from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sparkq.config import PreprocessConfig
from sparkq.errors import ImageError, InputError
from sparkq.preprocess import preprocess_array, preprocess_content

__all__ = ["CalibrationSet", "calibration_set"]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CalibrationSet:
    """Preprocessed calibration images.

    Parameters
    ----------
    images : ndarray of uint8 [N, H, W, 3]
        RGB at the model's input size.
    fingerprint : str
        sha256 over the images in their order.
    """

    images: npt.NDArray[np.uint8]
    fingerprint: str


def calibration_set(
    calibration: Iterable[npt.NDArray[np.uint8] | bytes], preprocess: PreprocessConfig,
) -> CalibrationSet:
    """Decode and preprocess calibration images with exactly the code of inference.

    Parameters
    ----------
    calibration : iterable
        Decoded images, uint8 [H, W, 3] RGB of any size, or encoded ones as bytes. Images that do not decode are left
        out, with a warning that counts them.
    preprocess : PreprocessConfig
        The model's preprocessing.

    Raises
    ------
    InputError
        If an item is neither, or no image is left.
    """
    images: list[npt.NDArray[np.uint8]] = []
    broken: Counter[str] = Counter()
    for index, item in enumerate(calibration):
        try:
            images.append(_preprocessed(item, preprocess, index))
        except ImageError as error:
            broken[error.code] += 1
    if broken:
        codes = ", ".join(f"{code} {count}" for code, count in sorted(broken.items()))
        _logger.warning("calibration: left out %d images that could not be decoded (%s)", sum(broken.values()), codes)
    if not images:
        raise InputError(
            f"calibration: expected at least one image; got none ({sum(broken.values())} could not be decoded).",
            hint="100 to 500 images like those of the job are a good set.",
        )
    stacked = np.stack(images)
    return CalibrationSet(stacked, hashlib.sha256(stacked.tobytes()).hexdigest())


def _preprocessed(item: object, preprocess: PreprocessConfig, index: int) -> npt.NDArray[np.uint8]:
    if isinstance(item, (bytes, bytearray, memoryview)):
        return preprocess_content(bytes(item), preprocess)
    if isinstance(item, np.ndarray) and item.dtype == np.uint8 and item.ndim == 3 and item.shape[2] == 3 and item.size:
        return preprocess_array(np.ascontiguousarray(item), preprocess)
    got = f"{item.dtype} {list(item.shape)}" if isinstance(item, np.ndarray) else type(item).__name__
    raise InputError(f"calibration item {index}: expected uint8 [H, W, 3] or encoded bytes; got {got}.")
