"""Candidates and non-maximum suppression against plain Python."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparkq.model_tasks.detection.suppression import best_candidates, suppressed
from tests.model_tasks.detection import reference

# A coarse grid: many equal boxes, equal overlaps, boxes that touch, and boxes of no area.
CORNERS = st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 4), st.integers(0, 4)).map(
    lambda box: (box[0] / 2, box[1] / 2, (box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
)
SCORES = st.sampled_from([0.0, 0.05, 0.1, 0.3, 0.3000001, 0.5, 0.9, 1.0])


@given(st.lists(CORNERS, max_size=30), st.sampled_from([0.0, 0.1, 1 / 3, 0.45, 0.5, 1.0]))
@settings(max_examples=200, deadline=None)
def test_suppression_is_the_greedy_one(boxes: list[tuple[float, ...]], iou_threshold: float) -> None:
    """To the box, whatever ties: an overlap that equals the threshold suppresses nothing."""
    corners = np.array(boxes, np.float32).reshape(-1, 4)
    assert suppressed(corners, iou_threshold).tolist() == reference.suppressed(list(corners), iou_threshold)


@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_suppression_is_the_greedy_one_on_boxes_anywhere(seed: int, iou_threshold: float) -> None:
    """Crowds of boxes around a few places, as anchors give them."""
    random = np.random.default_rng(seed)
    middles = random.uniform(0, 300, (4, 2))[random.integers(0, 4, 60)] + random.normal(0, 12, (60, 2))
    sizes = random.uniform(5, 80, (60, 2))
    boxes = np.concatenate([middles - sizes / 2, middles + sizes / 2], axis=1).astype(np.float32)
    assert suppressed(boxes, iou_threshold).tolist() == reference.suppressed(list(boxes), iou_threshold)


def test_a_chain_of_boxes_is_suppressed_link_by_link() -> None:
    """Each overlaps the next: every second one stays, which takes as many rounds as there are links."""
    x = np.arange(64, dtype=np.float32) * 4
    boxes = np.stack([x, np.zeros_like(x), x + 10, np.full_like(x, 10)], axis=1)
    assert suppressed(boxes, 0.3).tolist() == [index % 2 == 1 for index in range(64)]


@pytest.mark.parametrize("iou_threshold", [0.45, 0.1, 0.7])
def test_an_overlap_that_float32_rounds_to_the_threshold_is_judged_by_its_own_value(iou_threshold: float) -> None:
    """float32 of 0.45 is smaller than 0.45, of 0.1 and 0.7 larger: compared as numbers, as the reference does."""
    rounded = float(np.float32(iou_threshold))
    boxes = np.array([[0, 0, 1, 1], [0, 0, rounded, 1]], np.float32)
    assert float(reference.overlap(*boxes)) == rounded
    assert suppressed(boxes, iou_threshold).tolist() == [False, rounded > iou_threshold]


@given(st.lists(st.tuples(SCORES, SCORES, SCORES), max_size=25), st.sampled_from([0.0, 0.05, 0.3, 0.9, 1.0]), st.integers(1, 8))
@settings(max_examples=200, deadline=None)
def test_candidates_are_the_best_of_each_class(
    scores: list[tuple[float, ...]], score_threshold: float, count: int,
) -> None:
    """In a fixed order: of equal scores the box that comes first."""
    array = np.array(scores, np.float32).reshape(-1, 3)
    labels, boxes, values = best_candidates(array, score_threshold=score_threshold, candidates=count)
    expected = reference.candidates(array.tolist(), score_threshold, count)
    assert list(zip(labels.tolist(), boxes.tolist(), strict=True)) == expected
    assert values.tolist() == [array[box, label].item() for label, box in expected]
