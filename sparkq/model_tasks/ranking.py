"""From a model's outputs to classes and scores."""
from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["best_class", "ranked", "softmax"]

_FEW = 8


def softmax(outputs: npt.NDArray[np.float32], *, dtype: npt.DTypeLike = np.float64) -> npt.NDArray[np.float32]:
    """Softmax over the last axis, row by row, so that no row depends on another; computed in `dtype`."""
    values = outputs.astype(dtype, copy=False)
    # Infinite minus infinite is NaN: such a row becomes an error row, and is no reason for a warning on every executor. Outputs
    # may lie further apart than float32 goes; the lower one's share is zero then.
    with np.errstate(invalid="ignore", over="ignore"):
        shifted = np.exp(values - values.max(axis=-1, keepdims=True))
    probabilities: npt.NDArray[np.float32] = (shifted / shifted.sum(axis=-1, keepdims=True)).astype(np.float32, copy=False)
    return probabilities


def ranked(outputs: npt.NDArray[np.float32], top_k: int) -> npt.NDArray[np.int64]:
    """Indices of the `top_k` largest outputs a row, int64 [N, K]. INT8 outputs tie often: ties go to the smaller index."""
    falling = -outputs
    if top_k * _FEW > outputs.shape[-1]:
        order: npt.NDArray[np.int64] = np.argsort(falling, axis=-1, kind="stable")[:, :top_k]
        return order
    # Sorting 1000 classes for five of them takes as long as moving the image through Arrow.
    limits = np.partition(falling, top_k - 1, axis=-1)[:, top_k - 1]
    return np.array([_first(row, limit, top_k) for row, limit in zip(falling, limits, strict=True)], np.int64).reshape(-1, top_k)


def _first(falling: npt.NDArray[np.float32], limit: np.float32, top_k: int) -> npt.NDArray[np.int64]:
    # A limit that is no number is reached by none; numbers come before it.
    reached = np.arange(len(falling)) if np.isnan(limit) else np.flatnonzero(falling <= limit)
    return reached[np.argsort(falling[reached], kind="stable")[:top_k]]


def best_class(outputs: npt.NDArray[np.float32], scores: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Best class and its probability, [N] each; `scores` says what outputs are, as in the manifest."""
    labels = outputs.argmax(axis=-1)
    probabilities = outputs if scores == "probabilities" else softmax(outputs)
    return labels, probabilities[np.arange(len(labels)), labels]
