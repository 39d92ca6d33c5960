"""Which batch size counts as the best."""
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sparkq.worker.engine_measuring import smallest_near_best


@given(st.dictionaries(st.integers(1, 64), st.floats(0.1, 1e4), min_size=1))
def test_smallest_batch_near_the_best(rates: dict[int, float]) -> None:
    """Within 3 % of the best, and every smaller one is further off."""
    chosen = smallest_near_best(rates)
    limit = 0.97 * max(rates.values())
    assert rates[chosen] >= limit
    assert all(rate < limit for size, rate in rates.items() if size < chosen)
