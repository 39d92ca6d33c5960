"""Figures of a detection over images: their sums, and what they do not depend on."""
from __future__ import annotations

import numpy as np
import pytest

from sparkq.metrics.detection import ImageResult, JudgedBoxes, summarize


def judged(*boxes: tuple[int, float, bool]) -> JudgedBoxes:
    """(label, score, right) each, right at every overlap."""
    return JudgedBoxes(
        np.array([label for label, _, _ in boxes], np.int64), np.array([score for _, score, _ in boxes], np.float32),
        np.array([[right] * 10 for _, _, right in boxes], bool).reshape(-1, 10),
    )


def some_results(images: int = 30) -> list[ImageResult]:
    """INT8 misses the thing in every tenth image, float finds all."""
    found = [(1 + index % 2, index % 10 > 0) for index in range(images)]
    return [
        ImageResult((label,), judged((label, 0.9, right)), judged((label, 0.8, True)), int(right)) for label, right in found
    ]


def test_figures_are_those_of_all_images() -> None:
    """Class 1 is missed in every fifth of its images, class 2 never."""
    found = summarize(some_results(), 3)
    assert (found.images, found.errors, found.boxes) == (30, 3, 60)
    # All scores of a model are equal: one point of the curve, recall and precision 12/15.
    assert found.map50 == found.map50_95 == pytest.approx(100 * (0.8 * 0.8 + 1) / 2)
    assert (found.float_map50, found.float_map50_95) == (100, 100)
    assert found.accuracy_drop == pytest.approx(100 - found.map50) and found.agreement == pytest.approx(90)


def test_only_the_standard_error_depends_on_the_order_and_it_shrinks_with_images() -> None:
    """Ten times the images, about a third of the error; none where nothing changes, or of a single image."""
    results = some_results()
    backwards = summarize(results[::-1], 0)
    assert (backwards.map50, backwards.agreement) == (summarize(results, 0).map50, summarize(results, 0).agreement)
    few, many = summarize(results, 0).standard_error, summarize(some_results(300), 0).standard_error
    assert few is not None and many is not None and 0 < many < few
    same = [ImageResult(one.truth, judged((1, 0.9, True)), judged((1, 0.9, True)), 1) for one in results]
    assert summarize(same, 0).standard_error == 0
    assert summarize(results[:1], 0).standard_error is None


def test_without_a_float_model_there_is_nothing_to_compare() -> None:
    """And an image without boxes, true or found, is an image as any other."""
    results = [ImageResult((1, 1), judged((1, 0.9, True), (2, 0.5, False))), ImageResult((), judged())]
    found = summarize(results, 0)
    assert (found.images, found.map50, found.float_map50, found.agreement, found.boxes) == (2, 50, None, None, None)
