"""From outputs to classes and scores."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparkq.model_tasks.ranking import best_class, ranked, softmax


class TestSoftmax:
    """Scores of logits."""

    def test_numbers(self) -> None:
        scores = softmax(np.log(np.array([[1, 2, 1], [6, 1, 1]], np.float32)))
        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores, [[0.25, 0.5, 0.25], [0.75, 0.125, 0.125]], rtol=1e-6)

    def test_large_logits_do_not_overflow(self) -> None:
        np.testing.assert_allclose(softmax(np.array([[3e38, -3e38], [-3e38, -3e38]], np.float32)), [[1, 0], [0.5, 0.5]])

    def test_a_row_depends_on_no_other(self) -> None:
        outputs = np.random.default_rng(0).normal(size=(50, 1000)).astype(np.float32) * 5
        alone = np.concatenate([softmax(row[np.newaxis]) for row in outputs])
        assert np.array_equal(softmax(outputs), alone)

    def test_rows_without_numbers_make_no_noise(self) -> None:
        """Their images become error rows later; a warning an image would fill the executor's log."""
        scores = softmax(np.array([[np.inf, 0], [np.nan, 1], [0, 0]], np.float32))
        np.testing.assert_array_equal(scores[2], [0.5, 0.5])


class TestRanked:
    """Indices of the largest outputs."""

    def test_best_first(self) -> None:
        labels = ranked(np.array([[0.1, 0.4, 0.3], [2, 1, 3]], np.float32), 2)
        assert labels.dtype == np.int64
        assert labels.tolist() == [[1, 2], [2, 0]]

    def test_ties_go_to_the_smaller_index(self) -> None:
        """INT8 outputs tie often; 300 classes, where an unstable sort would show."""
        outputs = np.zeros((1, 300), np.float32)
        outputs[0, [250, 40]] = 1
        assert ranked(outputs, 300)[0].tolist() == [40, 250, *(index for index in range(300) if index not in (40, 250))]

    @settings(max_examples=200, deadline=None)
    @given(data=st.data(), top_k=st.integers(1, 12), classes=st.integers(1, 120))
    def test_the_order_is_that_of_a_stable_sort(self, data: st.DataObject, top_k: int, classes: int) -> None:
        """Of few levels, as INT8 gives them, and of what is no number."""
        level = st.sampled_from([-2.0, -1.0, -0.0, 0.0, 0.5, 1.0, np.inf, -np.inf, np.nan])
        rows = data.draw(st.lists(st.lists(level, min_size=classes, max_size=classes), max_size=3))
        outputs = np.array(rows, np.float32).reshape(-1, classes)
        expected = np.argsort(-outputs, axis=-1, kind="stable")[:, :top_k]
        assert np.array_equal(ranked(outputs, top_k), expected)

    @pytest.mark.parametrize("top_k", [3, 4, 1000])
    def test_more_than_there_are(self, top_k: int) -> None:
        assert ranked(np.array([[0, 2, 1]], np.float32), top_k).tolist() == [[1, 2, 0]]


@pytest.mark.parametrize("scores", ["logits", "probabilities"])
def test_best_class_is_the_first_of_the_ranking(scores: str) -> None:
    """With its probability; of equal outputs the smaller index."""
    outputs = softmax(np.random.default_rng(3).integers(0, 4, (50, 6)).astype(np.float32))
    labels, found = best_class(outputs, scores)
    assert np.array_equal(labels, ranked(outputs, 1)[:, 0])
    probabilities = outputs if scores == "probabilities" else softmax(outputs)
    assert np.array_equal(found, probabilities.max(axis=1))
