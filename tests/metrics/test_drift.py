"""Drift: alarms on drifted images, none on images like those of calibration."""
from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from sparkq.artifact.calibration_profile import ActivationProfile, CalibrationProfile
from sparkq.artifact.file import ModelArtifact
from sparkq.artifact.manifest import Manifest
from sparkq.config import InferenceConfig, ModelTaskConfig, QuantizationConfig
from sparkq.demo.digits import PREPROCESS
from sparkq.errors import InputError
from sparkq.images.decode import decode_image
from sparkq.metrics.drift import (
    MIN_IMAGES,
    Drift,
    DriftSums,
    judge_drift,
    population_stability_index,
    psi_limit,
    required_profile,
)
from sparkq.quantization import quantize
from sparkq.quantization.task_model import task_model
from sparkq.worker.observe_drift import observe_partition, sums_of
from sparkq.worker.predictor import Predictor
from tests.drifted_images import DRIFTED, Pixels, inverted
from tests.models import REFERENCES, digits, digits_net, encoded, reference_files, reference_model
from tests.sample_artifacts import sample_manifest

COUNTS = st_numpy.arrays(np.int64, 6, elements=st.integers(0, 1000))
# Measured by the two quickest of the reference models: small pictures of ten classes, photographs of a thousand.
MEASURED = {"resnet20": (1200, 4), "mobilenet": (200, 2)}


@functools.cache
def _split(shared_data: Path, name: str) -> tuple[ModelArtifact, tuple[bytes, ...]]:
    """An artifact calibrated on every n-th image, and the others."""
    count, every = MEASURED[name]
    files = reference_files(shared_data, name, count, step=2000 // count if name == "resnet20" else 1)
    # What is tested is no technique: the quickest recipe does.
    config = QuantizationConfig(rounding="nearest", bias_correction=False, equalization=False, observer="mse")
    artifact = quantize(
        reference_model(shared_data, name), calibration=files[::every], preprocess=REFERENCES[name].preprocess, config=config,
    )
    return artifact, tuple(file for index, file in enumerate(files) if index % every)


def _drift(artifact: ModelArtifact, files: list[bytes]) -> Drift:
    batch = pa.record_batch({"content": pa.array(files, pa.binary())})
    predictor = Predictor(artifact, allow_saturation=True)
    rows = observe_partition(
        iter([batch]), predictor=lambda: predictor, image_column="content", config=InferenceConfig(),
    )
    [row] = [row for batch in rows for row in batch.to_pylist()]
    return judge_drift(sums_of(row), artifact.manifest)


def _changed(files: tuple[bytes, ...], change: Callable[[Pixels], Pixels]) -> list[bytes]:
    return [encoded(change(decode_image(file)[np.newaxis])[0], "BMP") for file in files]


@pytest.mark.parametrize("name", MEASURED)
class TestRealImages:
    """Trained models on images that they were not calibrated on."""

    def test_no_alarm_on_images_of_the_same_kind(self, shared_data: Path, name: str) -> None:
        artifact, files = _split(shared_data, name)
        drift = _drift(artifact, list(files))
        assert drift.images == len(files)
        assert (drift.recalibrate, drift.reasons, drift.saturated) == (False, (), ())
        assert drift.activations == len(required_profile(artifact.manifest).activations) > 20
        assert drift.score_psi is not None and drift.score_psi_limit is not None and drift.score_psi < drift.score_psi_limit
        assert drift.label_psi is not None and drift.label_psi_limit is not None and drift.label_psi < drift.label_psi_limit

    @pytest.mark.parametrize("kind", DRIFTED)
    def test_an_alarm_on_drifted_ones(self, shared_data: Path, name: str, kind: str) -> None:
        artifact, files = _split(shared_data, name)
        drift = _drift(artifact, _changed(files, DRIFTED[kind]))
        assert drift.recalibrate is True and drift.reasons
        assert len(drift.reasons) == sum([
            drift.score_psi > drift.score_psi_limit, drift.label_psi > drift.label_psi_limit, bool(drift.saturated),
        ])
        increases = [activation.now - activation.calibrated for activation in drift.saturated]
        assert increases == sorted(increases, reverse=True)


def test_bright_images_are_found_by_saturation_alone(shared_data: Path) -> None:
    """The reason for a third figure: predictions are as before, but a part of the picture is burnt out."""
    artifact, files = _split(shared_data, "mobilenet")
    drift = _drift(artifact, _changed(files, lambda image: (image * 1.5).clip(0, 255).astype(np.uint8)))
    assert drift.recalibrate is True and len(drift.reasons) == 1
    assert {"quantize_per_tensor_0", "conv1"} & {activation.name for activation in drift.saturated}


class TestIndex:
    """Population stability index."""

    def test_by_hand(self) -> None:
        """0.4 ln(0.7 / 0.3) twice, but for the half images."""
        found = population_stability_index(np.array([700_000, 300_000]), np.array([300_000, 700_000]))
        assert found == pytest.approx(0.8 * np.log(7 / 3), rel=1e-5)

    @settings(max_examples=50, deadline=None)
    @given(expected=COUNTS, found=COUNTS)
    def test_zero_only_where_nothing_differs(self, expected: npt.NDArray[np.int64], found: npt.NDArray[np.int64]) -> None:
        index = population_stability_index(expected, found)
        assert np.isfinite(index) and index >= 0
        assert index == pytest.approx(population_stability_index(found, expected))
        assert population_stability_index(expected, expected) == 0

    @pytest.mark.parametrize(("bins", "calibrated", "now"), [(10, 200, 100), (10, 256, 10_000), (5, 50, 40), (2, 30, 30)])
    def test_chance_rarely_passes_the_limit(self, bins: int, calibrated: int, now: int) -> None:
        """Two samples of one distribution, 4000 times; one in a thousand is meant, ten would be an alarm a week."""
        random = np.random.default_rng(0)
        weights = np.full(bins, 1 / bins)
        pairs = zip(random.multinomial(calibrated, weights, 4000), random.multinomial(now, weights, 4000), strict=True)
        passed = sum(population_stability_index(first, second) > psi_limit(bins, calibrated, now) for first, second in pairs)
        assert passed <= 4000 * 0.005

    def test_limits(self) -> None:
        """27.877 is the 99.9 % quantile of chi-squared with nine degrees of freedom, in any table."""
        assert psi_limit(10, 100, 100) == pytest.approx(27.877 * 0.02, rel=0.01)
        assert psi_limit(10, 256, 10_000) == 0.25


PROFILE = CalibrationProfile(
    images=100, score_edges=(0.25, 0.5, 0.75), score_counts=(25, 25, 25, 25), label_counts=((0, 50), (2, 50)),
    activations=(ActivationProfile("steady", 0, 1, 0.1, 0.02), ActivationProfile("never", 0, 1, 0.0, 0.0)),
)
MANIFEST = sample_manifest(calibration_profile=PROFILE)


def _sums(images: int, first: float = 0.1, second: float = 0.0, *, deviation: float = 0.02) -> DriftSums:
    """Scores and labels as in calibration, the two activations saturated so often."""
    shares = np.array([first, second])
    squares = images * (shares**2 + np.array([deviation**2, 0]))
    quarters = np.full(4, images // 4)
    return DriftSums(images, quarters, np.array([images // 2, 0, images // 2]), shares * images, squares)


class TestJudgement:
    """What is an alarm."""

    @pytest.mark.parametrize(("first", "second", "names"), [
        (0.1, 0.0, []),
        (0.11, 0.0, []),  # significant, but less than 1.3 times
        (0.2, 0.0, ["steady"]),
        (0.0, 0.0, []),  # less than in calibration
        (0.1, 0.0005, []),  # infinitely more, but next to nothing
        (0.15, 0.2, ["never", "steady"]),
    ])
    def test_of_saturation(self, first: float, second: float, names: list[str]) -> None:
        drift = judge_drift(_sums(400, first, second), MANIFEST)
        assert [activation.name for activation in drift.saturated] == names
        assert drift.recalibrate is bool(names) and len(drift.reasons) == bool(names)

    def test_a_wide_spread_explains_a_large_share(self) -> None:
        """One white image in forty moves the mean, and means nothing."""
        assert judge_drift(_sums(40, 0.2, deviation=0.02), MANIFEST).recalibrate is True
        assert judge_drift(_sums(40, 0.2, deviation=0.4), MANIFEST).recalibrate is False

    @pytest.mark.parametrize("images", [0, 1, MIN_IMAGES - 1])
    def test_too_few_images(self, images: int) -> None:
        """Neither yes nor no."""
        drift = judge_drift(_sums(images, 0.9, 0.9) if images else DriftSums.zeros(MANIFEST), MANIFEST)
        assert (drift.images, drift.recalibrate, drift.score_psi, drift.saturated) == (images, None, None, ())
        assert f"{images}, and {MIN_IMAGES} are needed" in drift.reasons[0]

    def test_scores_and_labels(self) -> None:
        sums = replace(_sums(400), score_counts=np.array([300, 100, 0, 0]), label_counts=np.array([0, 0, 400]))
        drift = judge_drift(sums, MANIFEST)
        assert [reason.partition(" moved")[0] for reason in drift.reasons] == [
            "the distribution of scores", "the distribution of labels",
        ]
        assert drift.recalibrate is True and not drift.saturated

    def test_one_bin_is_no_distribution(self) -> None:
        """All calibration images of one class: nothing is said of labels."""
        manifest = sample_manifest(calibration_profile=replace(PROFILE, label_counts=((1, 100),)))
        drift = judge_drift(_sums(400), manifest)
        assert (drift.label_psi, drift.label_psi_limit, drift.recalibrate) == (None, None, False)

    @pytest.mark.parametrize("manifest", [
        sample_manifest(calibration_profile=None),
        sample_manifest(calibration_profile=replace(PROFILE, images=MIN_IMAGES - 1)),
    ], ids=["none", "too_few"])
    def test_an_artifact_that_has_seen_too_little(self, manifest: Manifest) -> None:
        with pytest.raises(InputError, match="at least 30 calibration images") as caught:
            judge_drift(_sums(400), manifest)
        assert caught.value.hint


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(0, 60), max_size=4))
def test_sums_do_not_depend_on_how_images_are_split(cuts: list[int]) -> None:
    random = np.random.default_rng(1)
    singles = [
        DriftSums(1, np.eye(4, dtype=int)[random.integers(4)], np.eye(3, dtype=int)[random.integers(3)], share, share**2)
        for share in random.random((60, 2))
    ]
    parts = [singles[start:end] for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), 60], strict=True)]
    merged = sum((sum(part, DriftSums.zeros(MANIFEST)) for part in parts), DriftSums.zeros(MANIFEST))
    whole = sum(singles, DriftSums.zeros(MANIFEST))
    assert merged.images == 60
    assert np.array_equal(merged.score_counts, whole.score_counts) and np.array_equal(merged.label_counts, whole.label_counts)
    np.testing.assert_allclose(merged.saturated_squares, whole.saturated_squares)


@pytest.mark.parametrize("recipe", ["static", "dynamic"])
def test_an_embedding_is_watched_by_its_ranges(recipe: str) -> None:
    """It has no labels and no scores; where ranges are not calibrated either there is nothing to compare."""
    model, task = task_model(digits_net(), ModelTaskConfig("embedding"), PREPROCESS)
    artifact = quantize(
        model, calibration=digits()[0].images[:40], preprocess=PREPROCESS, config=QuantizationConfig(recipe=recipe), task=task,
    )
    if recipe == "dynamic":
        with pytest.raises(InputError, match="expected calibrated ranges, labels or scores to compare; artifact .* has none"):
            required_profile(artifact.manifest)
        return
    assert ModelArtifact.loads(artifact.dumps()).manifest == artifact.manifest
    scans = digits()[1].images[:60]
    same, other = (_drift(artifact, [encoded(image) for image in images]) for images in (scans, inverted(scans)))
    assert (same.recalibrate, same.score_psi, same.label_psi) == (False, None, None)
    assert other.recalibrate is True and other.saturated and all("activations" in reason for reason in other.reasons)
