"""Cosine similarity: what the gate and `compare_embeddings` judge by."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sparkq.model_tasks import cosine_similarity

VECTORS = arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(1, 9)), elements=st.floats(-100, 100, width=16))


@given(VECTORS, st.floats(0.125, 8))
def test_of_a_vector_and_its_multiples(vectors: np.ndarray, factor: float) -> None:
    """Length does not count, the sign does; two zeros are alike."""
    np.testing.assert_allclose(cosine_similarity(vectors, vectors * np.float32(factor)), 1, atol=1e-6)
    zeros = ~vectors.any(axis=1)
    np.testing.assert_allclose(cosine_similarity(vectors, -vectors)[~zeros], -1, atol=1e-6)
    assert (cosine_similarity(vectors, np.zeros_like(vectors))[~zeros] == 0).all()


@given(VECTORS, st.integers(0, 2**31))
def test_is_numpys_formula(vectors: np.ndarray, seed: int) -> None:
    other = np.random.default_rng(seed).standard_normal(vectors.shape).astype(np.float32)
    for one, two, found in zip(vectors, other, cosine_similarity(vectors, other), strict=True):
        length = np.linalg.norm(one.astype(float)) * np.linalg.norm(two.astype(float))
        assert found == pytest.approx(float(one.astype(float) @ two.astype(float)) / length if length else 0.0, abs=1e-9)
