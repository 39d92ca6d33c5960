"""Non-maximum suppression: of boxes that show the same thing, the best one stays."""
from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from sparkq.model_tasks.detection.boxes import overlaps

__all__ = ["best_candidates", "suppressed"]


def best_candidates(scores: Tensor, *, score_threshold: float, candidates: int) -> tuple[Tensor, Tensor, Tensor]:
    """The best boxes of each class.

    Parameters
    ----------
    scores : Tensor
        float32 [A, L]: of each box, how likely it is each of L classes.
    score_threshold : float
        Only scores above it.
    candidates : int
        How many of a class.

    Returns
    -------
    (Tensor, Tensor, Tensor)
        Class, box (int64) and score of each of B candidates: class by class, in each the best first, of equal scores the
        box with the smaller index.
    """
    by_class = scores.t().contiguous()
    classes, boxes = (by_class > score_threshold).nonzero(as_tuple=True)
    values = by_class[classes, boxes]
    order = values.argsort(descending=True, stable=True)
    order = order[classes[order].argsort(stable=True)]
    classes = classes[order]
    counts = torch.bincount(classes, minlength=len(by_class))
    place = torch.arange(len(classes)) - (counts.cumsum(0) - counts)[classes]
    chosen = place < candidates
    order = order[chosen]
    return classes[chosen], boxes[order], values[order]


def suppressed(boxes: Tensor, iou_threshold: float) -> Tensor:
    """Tell which of `boxes` (float32 [B, 4], best first) overlap a better one that stays by more than `iou_threshold`; bool [B].

    What the greedy algorithm gives, without its loop over boxes (Zheng et al. 2020, "Enhancing Geometric Factors in Model
    Learning and Inference for Object Detection and Instance Segmentation", section III-C: Cluster-NMS): all that a box that
    stays would suppress is suppressed at once, until nothing changes. After n rounds the first n boxes are right.
    """
    # The overlaps are float32: a threshold rounded up would let the value below it pass.
    limit = np.float32(iou_threshold)
    if float(limit) > iou_threshold:
        limit = np.nextafter(limit, np.float32(-math.inf))
    above = (overlaps(boxes, boxes) > float(limit)).triu(diagonal=1)
    out = torch.zeros(len(boxes), dtype=torch.bool)
    while True:
        now = (above & ~out[:, None]).any(dim=0)
        if torch.equal(now, out):
            return out
        out = now
