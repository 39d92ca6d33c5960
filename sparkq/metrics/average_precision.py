"""Mean average precision: how good boxes are, over all thresholds of the score."""
from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["average_precision", "mean_average_precision"]


def average_precision(scores: npt.NDArray[np.float32], right: npt.NDArray[np.bool_], truths: int) -> float:
    """Area below the curve of precision over recall of one class, with precision made to fall.

    All points of the curve count (Everingham and Winn 2012, "The PASCAL Visual Object Classes Challenge 2012 Development Kit",
    section 3.4.1; VOC since 2010). Boxes of equal scores are one point: their order says nothing.

    Parameters
    ----------
    scores : ndarray of float32 [B]
        In any order.
    right : ndarray of bool [B]
        As `sparkq.model_tasks.detection.matching.true_positives` has it.
    truths : int
        How many true boxes there are, at least 1.
    """
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], right[order].cumsum()
    last = np.append(ranked[1:] != ranked[:-1], True)[: len(ranked)]
    recall = hits[last] / truths
    precision = hits[last] / (np.flatnonzero(last) + 1)
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall, prepend=0.0) * falling).sum())


def mean_average_precision(
    labels: npt.NDArray[np.int64], scores: npt.NDArray[np.float32], right: npt.NDArray[np.bool_], truths: dict[int, int],
) -> npt.NDArray[np.float64]:
    """Mean of `average_precision` over the classes that have true boxes, at each threshold of the overlap.

    Parameters
    ----------
    labels, scores : ndarray
        Of the boxes of all images, int64 [B] and float32 [B], in any order.
    right : ndarray of bool [B, H]
        At each of H thresholds.
    truths : dict of int to int
        Class to how many true boxes it has in all images.

    Returns
    -------
    ndarray of float64 [H]
        0 to 1.
    """
    classes = sorted(label for label, count in truths.items() if count)
    return np.array([
        np.mean([
            average_precision(scores[labels == label], right[labels == label, threshold], truths[label]) for label in classes
        ])
        for threshold in range(right.shape[1])
    ])
