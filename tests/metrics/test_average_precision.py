"""Mean average precision against plain Python, and against figures worked out by hand."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparkq.metrics.average_precision import average_precision, mean_average_precision
from sparkq.model_tasks.detection.matching import IOU_THRESHOLDS, iou_matrix, true_positives
from tests.model_tasks.detection import reference


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.25, 0.5, 0.9]), st.booleans()), max_size=20), st.integers(0, 5))
@settings(max_examples=200, deadline=None)
def test_average_precision_is_that_of_plain_python(ranked: list[tuple[float, bool]], missed: int) -> None:
    """With many equal scores, and true boxes that nothing found."""
    truths = max(1, sum(right for _, right in ranked) + missed)
    scores, right = np.array([score for score, _ in ranked], np.float32), np.array([right for _, right in ranked], bool)
    assert average_precision(scores, right, truths) == pytest.approx(reference.average_precision(ranked, truths))


def test_figures_that_can_be_worked_out_by_hand() -> None:
    """Right, wrong, right: precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1."""
    scores, right = np.array([0.9, 0.8, 0.7], np.float32), np.array([True, False, True])
    assert average_precision(scores, right, 2) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert average_precision(scores, right, 4) == pytest.approx(0.25 * 1 + 0.25 * 2 / 3)
    assert average_precision(scores[:0], right[:0], 3) == 0
    assert average_precision(scores, np.ones(3, bool), 3) == 1
    # Equal scores are one point, so that the order of images cannot matter.
    assert average_precision(np.full(3, 0.5, np.float32), right, 2) == pytest.approx(2 / 3)


def test_the_mean_is_over_classes_that_are_there() -> None:
    """Boxes of a class without true boxes are wrong, but no class of their own; one that was never found counts as 0."""
    labels, scores = np.array([1, 2, 3]), np.array([0.9, 0.8, 0.7], np.float32)
    right = np.array([[True, True], [True, False], [False, False]])
    np.testing.assert_allclose(mean_average_precision(labels, scores, right, {1: 1, 2: 1}), [1, 0.5])
    np.testing.assert_allclose(mean_average_precision(labels, scores, right, {1: 1, 2: 1, 4: 2}), [2 / 3, 1 / 3])


def test_a_true_box_is_found_once_and_by_its_own_class() -> None:
    """The better box has it; how much must be shared is each threshold's."""
    truth, true_labels = np.array([[0, 0, 10, 10], [20, 0, 30, 10]], np.float32), np.array([1, 2])
    boxes = np.array([[0, 0, 10, 8], [0, 0, 10, 10], [20, 0, 30, 10], [20, 0, 30, 10]], np.float32)
    right = true_positives(np.array([1, 1, 1, 2]), boxes, true_labels, truth)
    assert right[0].tolist() == [threshold <= 0.8 for threshold in IOU_THRESHOLDS]
    # Where the first is not near enough, the second is right.
    assert right[1].tolist() == [threshold > 0.8 for threshold in IOU_THRESHOLDS]
    assert not right[2].any() and right[3].all()
    assert true_positives(np.array([1]), boxes[:1], true_labels[:0], truth[:0]).tolist() == [[False] * 10]
    assert true_positives(true_labels[:0], boxes[:0], true_labels, truth).shape == (0, 10)


@given(st.lists(st.tuples(*[st.integers(0, 9)] * 4), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_overlaps_are_symmetric_and_at_most_one(corners: list[tuple[int, ...]]) -> None:
    """Also of boxes without area, whose overlap is 0 and not NaN."""
    boxes = np.array([(x, y, x + width, y + height) for x, y, width, height in corners], np.float32)
    found = iou_matrix(boxes, boxes)
    np.testing.assert_array_equal(found, found.T)
    assert ((found >= 0) & (found <= 1)).all()
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    np.testing.assert_array_equal(np.diag(found), (areas > 0).astype(float))
