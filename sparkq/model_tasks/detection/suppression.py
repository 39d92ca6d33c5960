"""Non-maximum suppression: of boxes that show the same thing, the best one stays."""
from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from sparkq.model_tasks.detection.boxes import overlaps

__all__ = ["best_candidates", "suppressed"]


def best_candidates(
    scores: npt.NDArray[np.float32], *, score_threshold: float, candidates: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """The best boxes of each class.

    Parameters
    ----------
    scores : ndarray of float32 [A, L]
        Of each box, how likely it is each of L classes.
    score_threshold : float
        Only scores above it.
    candidates : int
        How many of a class.

    Returns
    -------
    (ndarray of int64 [B], ndarray of int64 [B], ndarray of float32 [B])
        Class, box and score of each of B candidates: class by class, in each the best first, of equal scores the box with
        the smaller index.
    """
    by_class = np.ascontiguousarray(scores.T)
    # Compared as float32, as the scores are.
    classes, boxes = np.nonzero(by_class > np.float32(score_threshold))
    values = by_class[classes, boxes]
    order = np.lexsort((-values, classes))
    classes = classes[order]
    counts = np.bincount(classes, minlength=len(by_class))
    place = np.arange(len(classes)) - (np.cumsum(counts) - counts)[classes]
    chosen = place < candidates
    order = order[chosen]
    return classes[chosen], boxes[order], values[order]


def suppressed(boxes: npt.NDArray[np.float32], iou_threshold: float) -> npt.NDArray[np.bool_]:
    """Tell which of `boxes` (float32 [B, 4], best first) overlap a better one that stays by more than `iou_threshold`; bool [B].

    What the greedy algorithm gives, without its loop over boxes (Zheng et al. 2020, "Enhancing Geometric Factors in Model
    Learning and Inference for Object Detection and Instance Segmentation", section III-C: Cluster-NMS): all that a box that
    stays would suppress is suppressed at once, until nothing changes. After n rounds the first n boxes are right.
    """
    # The overlaps are float32: a threshold rounded up would let the value below it pass.
    limit = np.float32(iou_threshold)
    if float(limit) > iou_threshold:
        limit = np.nextafter(limit, np.float32(-math.inf))
    above = np.triu(overlaps(boxes, boxes) > limit, k=1)
    out: npt.NDArray[np.bool_] = np.zeros(len(boxes), np.bool_)
    while True:
        now = np.any(above & ~out[:, None], axis=0)
        if np.array_equal(now, out):
            return out
        out = now
