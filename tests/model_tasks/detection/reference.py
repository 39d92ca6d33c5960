"""Detection in plain Python, one box at a time: what the vectorized code is compared with."""
from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Box = Sequence[np.float32]


def overlap(one: Box, other: Box) -> np.float32:
    """Intersection over union, every step rounded to float32 as tensors are; 0 of two empty boxes."""
    zero = np.float32(0)
    width = max(np.float32(min(one[2], other[2]) - max(one[0], other[0])), zero)
    height = max(np.float32(min(one[3], other[3]) - max(one[1], other[1])), zero)
    shared = np.float32(width * height)
    areas = [np.float32(np.float32(box[2] - box[0]) * np.float32(box[3] - box[1])) for box in (one, other)]
    union = np.float32(np.float32(areas[0] + areas[1]) - shared)
    return np.float32(shared / union) if union > 0 else zero


def suppressed(boxes: Sequence[Box], iou_threshold: float) -> list[bool]:
    """Greedy non-maximum suppression of boxes, best first."""
    out: list[bool] = []
    for index, box in enumerate(boxes):
        out.append(any(not out[better] and float(overlap(boxes[better], box)) > iou_threshold for better in range(index)))
    return out


def candidates(scores: Sequence[Sequence[float]], score_threshold: float, count: int) -> list[tuple[int, int]]:
    """(class, box) of the best boxes of each class, of equal scores the first."""
    found = []
    for label in range(len(scores[0]) if scores else 0):
        above = [box for box, row in enumerate(scores) if row[label] > np.float32(score_threshold)]
        found += [(label, box) for box in sorted(above, key=lambda box: (-scores[box][label], box))[:count]]
    return found


def softmax(logits: Sequence[float]) -> list[float]:
    """Of one anchor."""
    powers = [math.exp(value - max(logits)) for value in logits]
    return [power / sum(powers) for power in powers]


def anchors(
    feature_maps: Sequence[tuple[int, int]], scales: Sequence[float], aspect_ratios: Sequence[Sequence[float]],
    input_size: tuple[int, int],
) -> list[tuple[float, float, float, float]]:
    """SSD's default boxes, written down from the paper (section 2.2), clipped in size."""
    height, width = input_size
    found = []
    for index, (rows, columns) in enumerate(feature_maps):
        scale = scales[index]
        sizes = [(scale, scale), (math.sqrt(scale * scales[index + 1]),) * 2]
        for ratio in aspect_ratios[index]:
            sizes += [(scale * math.sqrt(ratio), scale / math.sqrt(ratio)), (scale / math.sqrt(ratio), scale * math.sqrt(ratio))]
        for row in range(rows):
            for column in range(columns):
                x, y = (column + 0.5) / columns * width, (row + 0.5) / rows * height
                for wide, high in sizes:
                    half = min(wide, 1.0) * width / 2, min(high, 1.0) * height / 2
                    found.append((x - half[0], y - half[1], x + half[0], y + half[1]))
    return found


def decoded(offsets: Sequence[float], anchor: Sequence[float]) -> tuple[float, float, float, float]:
    """One box, with SSD's variances."""
    width, height = anchor[2] - anchor[0], anchor[3] - anchor[1]
    x = anchor[0] + width / 2 + offsets[0] * 0.1 * width
    y = anchor[1] + height / 2 + offsets[1] * 0.1 * height
    wide = width * math.exp(min(offsets[2] * 0.2, math.log(1000 / 16)))
    high = height * math.exp(min(offsets[3] * 0.2, math.log(1000 / 16)))
    return x - wide / 2, y - high / 2, x + wide / 2, y + high / 2


def average_precision(ranked: Sequence[tuple[float, bool]], truths: int) -> float:
    """At each distinct score precision and recall; precision is the best at this or a higher recall."""
    points = []
    for score in sorted({score for score, _ in ranked}, reverse=True):
        kept = [right for other, right in ranked if other >= score]
        points.append((sum(kept) / truths, sum(kept) / len(kept)))
    area, before = 0.0, 0.0
    for index, (recall, _) in enumerate(points):
        area += (recall - before) * max(precision for _, precision in points[index:])
        before = recall
    return area
