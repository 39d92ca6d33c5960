"""The calibration profile: bins that hold enough images, whatever was predicted."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from sparkq.artifact.calibration_profile import ActivationProfile, CalibrationProfile, bin_limit

CLASSES = 12
PREDICTED = st.integers(1, 300).flatmap(lambda images: st.tuples(
    st_numpy.arrays(np.int64, images, elements=st.integers(0, CLASSES - 1)),
    st_numpy.arrays(np.float32, images, elements=st.floats(0, 1, width=32)),
))


def profile_of(labels: list[int], scores: list[float] | None = None) -> CalibrationProfile:
    """Of lists."""
    return CalibrationProfile.of(np.array(labels), np.array(scores or [0.5] * len(labels), np.float32))


@settings(max_examples=100, deadline=None)
@given(predicted=PREDICTED)
def test_every_image_is_in_one_bin_and_bins_hold_enough(predicted: tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]) -> None:
    """Of scores and of labels; at most ten bins, and five images in each bin of labels but where there are fewer in all."""
    labels, scores = predicted
    profile = CalibrationProfile.of(labels, scores)
    assert profile.images == len(labels)
    assert np.array_equal(profile.score_histogram(scores), profile.score_counts)
    assert len(profile.score_counts) <= 10 and sum(profile.score_counts) == len(labels)
    assert np.array_equal(profile.label_histogram(CLASSES), np.bincount(labels, minlength=CLASSES))
    bins = profile.label_bins(CLASSES)
    inside = np.bincount(bins[labels], minlength=bins.max() + 1)
    assert len(bins) == CLASSES and np.all(np.diff(bins) >= 0) and set(bins) == set(range(len(inside)))
    assert len(inside) <= bin_limit(len(labels)) and (inside.min() >= 5 or len(inside) == 1)


@settings(max_examples=50, deadline=None)
@given(predicted=PREDICTED)
def test_it_comes_back_from_its_mapping(predicted: tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]) -> None:
    profile = CalibrationProfile.of(*predicted, [ActivationProfile("conv1", -1.25, 2.5, 0.125, 0.0625)])
    assert CalibrationProfile.from_mapping(profile.to_mapping()) == profile


def test_ten_balanced_classes_have_a_bin_each() -> None:
    assert profile_of(list(range(10)) * 20).label_bins(10).tolist() == list(range(10))


def test_a_class_that_was_never_seen_shares_the_bin_of_its_neighbours() -> None:
    """Two hundred images of two hundred of a thousand classes: other two hundred classes shall be no news."""
    bins = profile_of(list(range(0, 1000, 5))).label_bins(1000)
    assert bins.max() == 9
    assert np.bincount(bins).tolist() == pytest.approx([100] * 10, abs=6)


def test_a_frequent_class_shares_its_bin_with_none_that_was_seen() -> None:
    bins = profile_of([3] * 60 + [1] * 20 + [7] * 20).label_bins(9)
    assert len({bins[1], bins[3], bins[7]}) == 3


def test_scores_beside_one_are_one_bin() -> None:
    """Digits that differ between processors."""
    profile = profile_of([0] * 100, [0.2] * 50 + [0.999999] * 50)
    assert profile.score_counts == (50, 50) or profile.score_counts == (0, 50, 50)
    assert np.array_equal(
        profile.score_histogram(np.array([0.999998], np.float32)), profile.score_histogram(np.array([1.0], np.float32)),
    )


DAMAGED: dict[str, Callable[[dict[str, Any]], object]] = {
    "no images": lambda m: m.pop("images"),
    "images text": lambda m: m.update(images="many"),
    "an edge too many": lambda m: m["score_edges"].append(2.0),
    "an image too many": lambda m: m.update(images=m["images"] + 1),
    "label not a number": lambda m: m["label_counts"].update(cat=1),
    "an activation without name": lambda m: m["activations"][0].pop("name"),
    "an activation of a later sparkq": lambda m: m["activations"][0].update(entropy=1.0),
}


@pytest.mark.parametrize("change", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_mapping_is_refused(change: Callable[[dict[str, Any]], object]) -> None:
    """With the errors of which the manifest makes its own."""
    mapping = CalibrationProfile.of(
        np.array([0, 1]), np.array([0.5, 0.75], np.float32), [ActivationProfile("conv1", 0.0, 1.0, 0.0, 0.0)],
    ).to_mapping()
    mapping = {**mapping, "score_edges": list(mapping["score_edges"]), "activations": [dict(a) for a in mapping["activations"]]}
    change(mapping)
    with pytest.raises((KeyError, TypeError, ValueError)):
        CalibrationProfile.from_mapping(mapping)
