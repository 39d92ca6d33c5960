"""Answers that cannot be right: told, and never told of answers that are in order."""
from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sparkq.artifact.calibration_profile import CalibrationProfile
from sparkq.metrics.plausibility import calibration_warnings, chance_warning, one_label_warning
from tests.sample_artifacts import sample_manifest


@pytest.mark.parametrize(("counts", "classes", "warned"), [
    ({3: 416}, 10, True),
    ({3: 200}, 3, True),
    ({1: 200}, 2, True),
    ({1: 200}, None, True),
    ({0: 95, 1: 5}, 3, True),
    ({0: 94, 1: 6}, 3, False),
    ({0: 15}, 1000, False),
    ({0: 16}, 1000, True),
    ({0: 31}, 2, False),
    ({0: 970, 1: 30}, 2, False),
    ({0: 995, 1: 5}, 2, True),
    ({0: 32}, 2, True),
    ({0: 500, 7: 500}, 10, False),
    ({0: 500}, 1, False),
    ({}, 10, False),
])
def test_one_label(counts: dict[int, int], classes: int | None, warned: bool) -> None:
    """From two classes on; where one of two is rare, as in inspection, that is in order."""
    found = one_label_warning(counts, classes=classes)
    assert (found is not None) == warned
    if found is not None:
        assert " Hint: " in found and ("all" if len(counts) == 1 else f"{max(counts.values())} of") in found


def test_the_label_is_named() -> None:
    found = one_label_warning({1: 40}, classes=2, names=("good", "scratch"), model="the float model")
    assert found is not None
    assert found.startswith("the float model gives all 40 images the same label (1, scratch), although it tells 2 apart.")


@given(st.integers(1, 400), st.integers(3, 1000), st.data())
def test_evenly_spread_labels_are_never_odd(images: int, classes: int, data: st.DataObject) -> None:
    """No label with more than nine of ten."""
    most = data.draw(st.integers(0, images * 9 // 10))
    others = {label: (images - most) // 2 for label in (1, 2)}
    assert one_label_warning({0: most, **others}, classes=classes) is None or sum(others.values()) < images - most


def counted(labels: object) -> dict[int, int]:
    return dict(Counter(np.asarray(labels).tolist()))


@pytest.mark.parametrize(("classes", "images"), [(2, 400), (3, 200), (10, 100), (1000, 250)])
def test_labels_without_looking_are_at_chance_level(classes: int, images: int) -> None:
    """Thrown dice, one label for all, and labels in another order, which is what shifted class names are; a good model is not."""
    random = np.random.default_rng(classes)
    truth = random.integers(classes, size=images)
    for predicted in (random.integers(classes, size=images), np.zeros(images, int), (truth + 1) % classes):
        right = int((truth == predicted).sum())
        assert chance_warning(right, counted(truth), counted(predicted), classes=classes) is not None
    predicted = np.where(random.random(images) < 0.8, truth, random.integers(classes, size=images))
    right = int((truth == predicted).sum())
    assert chance_warning(right, counted(truth), counted(predicted), classes=classes) is None


def test_the_case_of_the_lost_mean() -> None:
    """33 % of three classes, each photo one class."""
    found = chance_warning(66, {0: 66, 1: 67, 2: 67}, {0: 200}, classes=3, model="the float model")
    assert found is not None and "66 of 200" in found and "(33.3 %" in found and "do not belong together" in found


def test_rare_events_that_are_found_are_no_chance() -> None:
    """97 of 100 images show nothing: who says so always is right on 97 %, who finds half of the rest has looked."""
    truth = {0: 1940, 1: 60}
    assert chance_warning(1940, truth, {0: 2000}, classes=2) is not None
    assert chance_warning(1970, truth, {0: 1970, 1: 30}, classes=2) is None


def test_images_of_one_class_alone_say_little() -> None:
    """Faultless labels are what chance would give, too, so that only 1/C is left to compare with."""
    assert chance_warning(90, {4: 100}, {4: 90, 1: 10}, classes=10) is None
    assert chance_warning(100, {0: 99, 1: 1}, {0: 99, 1: 1}, classes=2) is None
    assert chance_warning(9, {4: 100}, {4: 9, 1: 91}, classes=10) is not None
    assert chance_warning(0, {4: 15}, {1: 15}, classes=10) is None


@given(st.integers(16, 300), st.integers(2, 50), st.data())
def test_the_bound_holds(images: int, classes: int, data: st.DataObject) -> None:
    """Where no warning comes, so many right labels by chance 1/C are less likely than 1 in 1000, by the exact binomial sum."""
    right = data.draw(st.integers(0, images))
    truth = {label: images // classes + (label < images % classes) for label in range(classes)}
    assume(chance_warning(right, truth, truth, classes=classes) is None)
    tail = sum(
        math.comb(images, count) * (1 / classes) ** count * (1 - 1 / classes) ** (images - count)
        for count in range(right, images + 1)
    )
    assert tail <= 1e-3


def test_artifacts() -> None:
    """From the labels of the calibration images that the manifest keeps; a float artifact keeps none."""
    scores = np.ones(40, np.float32)
    profile = CalibrationProfile.of(np.full(40, 2), scores)
    [warning] = calibration_warnings(sample_manifest(calibration_profile=profile))
    assert "all 40 images" in warning and "(2, Zürich" in warning
    varied = CalibrationProfile.of(np.arange(40) % 3, scores)
    assert calibration_warnings(sample_manifest(calibration_profile=varied)) == []
    assert calibration_warnings(replace(sample_manifest(), calibration_profile=None)) == []
