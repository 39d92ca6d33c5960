"""How often two models see the same things."""
from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from sparkq.model_tasks.detection.detector import Boxes
from sparkq.model_tasks.detection.matching import iou_matrix

__all__ = ["BoxAgreement", "matched_boxes"]

_SAME_PLACE = 0.5


def matched_boxes(expected: Boxes, found: Boxes) -> int:
    """How many boxes of one image can be paired off: of one class, overlapping by at least a half, the best pairs first."""
    overlaps = np.where(expected.labels[:, None] == found.labels[None, :], iou_matrix(expected.corners, found.corners), 0.0)
    matched = 0
    while overlaps.size and overlaps.max() >= _SAME_PLACE:
        row, column = np.unravel_index(overlaps.argmax(), overlaps.shape)
        overlaps[row], overlaps[:, column] = 0.0, 0.0
        matched += 1
    return matched


@dataclass
class BoxAgreement:
    """F1 of the boxes of one model against those of another, over images (van Rijsbergen 1979, "Information Retrieval").

    ``2 * matched / (boxes of one + boxes of the other)``: 1 where each box of either has its counterpart, the harmonic mean of
    precision and recall with either for the truth.
    """

    matched: list[int] = field(default_factory=list)
    boxes: list[int] = field(default_factory=list)

    def add(self, expected: Boxes, found: Boxes) -> None:
        """Both models' boxes of one image."""
        self.matched.append(matched_boxes(expected, found))
        self.boxes.append(len(expected) + len(found))

    @property
    def f1(self) -> float | None:
        """0 to 1; None where neither has a box."""
        return 2 * sum(self.matched) / sum(self.boxes) if sum(self.boxes) else None

    @property
    def standard_error(self) -> float | None:
        """Estimate the standard error of `f1`, a ratio of two sums over images (Cochran 1977, "Sampling Techniques", section
        2.11).
        """
        images, f1 = len(self.boxes), self.f1
        if f1 is None or images < 2:
            return None
        residuals: npt.NDArray[np.float64] = 2 * np.asarray(self.matched) - f1 * np.asarray(self.boxes)
        return math.sqrt(float((residuals**2).sum()) * images / (images - 1)) / sum(self.boxes)
