"""Matching: pairs of boxes from two sets that show the same thing."""
from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sparkq.model_tasks.detection.boxes import overlaps

__all__ = ["IOU_THRESHOLDS", "iou_matrix", "true_positives"]

IOU_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""0.50, 0.55 ... 0.95 (Lin et al. 2014, "Microsoft COCO")."""


def iou_matrix(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Intersection over union, computed in float64, of boxes as arrays: [N, 4] and [M, 4] to [N, M]; 0 of two empty boxes."""
    return overlaps(one.astype(np.float64), other.astype(np.float64))


def true_positives(
    labels: npt.NDArray[np.int64], corners: npt.NDArray[np.float32], true_labels: npt.NDArray[np.int64],
    true_corners: npt.NDArray[np.float32], iou_thresholds: tuple[float, ...] = IOU_THRESHOLDS,
) -> npt.NDArray[np.bool_]:
    """Tell which boxes of one image are right.

    A box, the best score first, is right if the true box of its class that it overlaps most does so by at least the
    threshold, and no better box was found right on that one (Everingham et al. 2010, "The PASCAL Visual Object Classes (VOC)
    Challenge", section 4.2).

    Parameters
    ----------
    labels : ndarray of int64 [B]
        Of the boxes, best first.
    corners : ndarray of float32 [B, 4]
        x_min, y_min, x_max, y_max.
    true_labels, true_corners : ndarray
        Of the T true boxes, int64 [T] and float32 [T, 4].
    iou_thresholds : tuple of float
        H thresholds.

    Returns
    -------
    ndarray of bool [B, H]
    """
    right = np.zeros((len(labels), len(iou_thresholds)), bool)
    if not len(true_labels):
        return right
    shared = np.where(labels[:, None] == true_labels[None, :], iou_matrix(corners, true_corners), -1.0)
    nearest = shared.argmax(axis=1)
    enough = shared[np.arange(len(labels)), nearest][:, None] >= np.asarray(iou_thresholds) - 1e-9
    taken = np.zeros((len(true_labels), len(iou_thresholds)), bool)
    for box, true_box in enumerate(nearest):
        right[box] = enough[box] & ~taken[true_box]
        taken[true_box] |= enough[box]
    return right
