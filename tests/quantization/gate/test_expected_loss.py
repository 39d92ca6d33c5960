"""The expected loss of accuracy: what it counts, and that its bound holds."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkq.quantization.gate.expected_loss import LossEstimate, expected_losses
from sparkq.quantization.gate.views import VIEWS, shifted


def test_losses_by_hand() -> None:
    """Nothing where both agree, little between two classes that float finds alike, much where it was sure."""
    probabilities = np.array([[0.7, 0.2, 0.1], [0.41, 0.39, 0.2], [0.98, 0.01, 0.01]])
    outputs = np.array([[3.0, 1.0, 0.0], [1.0, 1.5, 0.0], [0.0, 0.0, 1.0]])
    assert expected_losses(probabilities, outputs) == pytest.approx([0.0, 0.02, 0.97])


@given(st.integers(1, 60), st.integers(1, VIEWS), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_bounds_lie_around_the_mean(images: int, views: int, seed: int, share: float) -> None:
    """Whatever was lost: no bound says that nothing can be lost, and the lower one never lies above the mean."""
    random = np.random.default_rng(seed)
    losses = random.random((images, views)) * (random.random((images, views)) < share)
    found = LossEstimate.of(losses)
    assert 0 <= found.at_least <= found.mean + 1e-9
    assert found.at_most > 0 and found.standard_error > 0
    assert found.mean == pytest.approx(100 * losses.mean())


def test_more_images_without_a_flip_say_more() -> None:
    bounds = [LossEstimate.of(np.zeros((images, 1))).at_most for images in (10, 40, 100, 500)]
    assert bounds == sorted(bounds, reverse=True) and bounds[0] > 2 and bounds[1] > 0.5 > bounds[2] and bounds[3] < 0.1


def test_a_look_that_may_not_be_the_last_is_bounded_more_widely() -> None:
    losses = np.random.default_rng(0).random((40, 2)) * 0.1
    last, first = LossEstimate.of(losses), LossEstimate.of(losses, is_last=False)
    assert first.at_least < last.at_least < last.mean < last.at_most < first.at_most


@pytest.mark.parametrize("images", [40, 100, 250])
@pytest.mark.parametrize(("flips", "cost"), [(0.02, 0.1), (0.07, 0.04), (0.3, 0.13)])
def test_the_bound_holds(images: int, flips: float, cost: float) -> None:
    """In at least 94 % of 1000 samples: flips as rare and as costly as those of trained networks, in three views."""
    random = np.random.default_rng(0)
    population = random.exponential(cost, (4000, 3)).clip(0, 1) * (random.random((4000, 3)) < flips)
    held = sum(
        LossEstimate.of(population[random.choice(len(population), images, replace=False)]).at_most >= 100 * population.mean()
        for _ in range(1000)
    )
    assert held >= 940


def test_views() -> None:
    """The image itself, then eight different ones, each a pixel or a 64th away, of which most is still there."""
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 128, 3), dtype=np.uint8)
    views = [shifted(images, view) for view in range(VIEWS)]
    assert views[0] is images
    assert len({view.tobytes() for view in views}) == VIEWS
    for view in views[1:]:
        assert view.shape == images.shape and view.flags.c_contiguous
        inner = view[:, 1:-1, 2:-2]
        assert any(
            (inner == images[:, 1 + down:31 + down, 2 + right:126 + right]).all() for down in (-1, 0, 1) for right in (-2, 0, 2)
        )
