"""A partition's images become one row of sums; what cannot be decoded or predicted is in none of them."""
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from sparkq.artifact.calibration_profile import CalibrationProfile
from sparkq.artifact.file import ModelArtifact
from sparkq.config import InferenceConfig, QuantizationConfig
from sparkq.errors import EngineError
from sparkq.images.preprocess import preprocess_content
from sparkq.metrics.drift import DriftSums
from sparkq.quantization import quantize
from sparkq.worker.observe_drift import DRIFT_FIELDS, observe_partition, sums_of
from sparkq.worker.predictor import Predictor
from tests.models import SMALL, SmallNet, classified, digit_files, digits, digits_artifact, encoded, failing_on_white, noise


def _rows(artifact: ModelArtifact, *parts: list[bytes | None], batch_size: int = 16) -> list[DriftSums]:
    """Each part is a record batch."""
    return _rows_of(Predictor(artifact, batch_size=batch_size), *parts)


def _rows_of(predictor: Predictor, *parts: list[bytes | None]) -> list[DriftSums]:
    batches = [pa.record_batch({"content": pa.array(part, pa.binary())}) for part in parts]
    found = list(observe_partition(
        iter(batches), predictor=lambda: predictor, image_column="content", config=InferenceConfig(),
    ))
    assert all(batch.schema == DRIFT_FIELDS and batch.num_rows == 1 for batch in found)
    return [sums_of(row) for batch in found for row in batch.to_pylist()]


def test_counts_are_those_of_the_predictions() -> None:
    artifact = digits_artifact()
    files = digit_files(50)
    [sums] = _rows(artifact, list(files))
    pixels = np.stack([preprocess_content(file, artifact.manifest.preprocess) for file in files])
    labels, scores = classified(Predictor(artifact), pixels, top_k=1)
    profile = artifact.manifest.calibration_profile
    assert profile is not None and sums.images == 50
    assert np.array_equal(sums.label_counts, np.bincount(labels[:, 0], minlength=10))
    assert np.array_equal(sums.score_counts, profile.score_histogram(scores[:, 0]))
    assert len(sums.saturated) == len(profile.activations) > 0


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_the_sums_do_not_depend_on_batches(batch_size: int) -> None:
    files = list(digit_files(50))
    [whole] = _rows(digits_artifact(), files)
    [parted] = _rows(digits_artifact(), files[:3], files[3:31], [], files[31:], batch_size=batch_size)
    assert parted.images == 50
    assert np.array_equal(parted.score_counts, whole.score_counts)
    assert np.array_equal(parted.label_counts, whole.label_counts)
    np.testing.assert_allclose(parted.saturated, whole.saturated, rtol=1e-9)
    np.testing.assert_allclose(parted.saturated_squares, whole.saturated_squares, rtol=1e-9)


def test_broken_images_are_in_no_figure() -> None:
    files = list(digit_files(5))
    [whole] = _rows(digits_artifact(), files)
    [broken] = _rows(digits_artifact(), [b"", None, *files, b"no image"])
    assert broken.images == 5 and np.array_equal(broken.saturated, whole.saturated)


def test_nothing_in_nothing_out() -> None:
    """An empty partition loads no model; one without a readable image says so with zeros."""
    assert list(observe_partition(
        iter([]), predictor=lambda: pytest.fail("loaded"), image_column="content", config=InferenceConfig(),
    )) == []
    [sums] = _rows(digits_artifact(), [b"no image"])
    assert sums.images == 0 and not sums.saturated.any()


def test_an_image_on_which_the_model_fails_spoils_no_other() -> None:
    artifact = quantize(
        SmallNet(), calibration=noise(40, high=200), preprocess=SMALL, config=QuantizationConfig(recipe="dynamic"),
    )
    dark = [encoded(image) for image in noise(6, high=200, seed=3)]
    white = encoded(np.full((16, 16, 3), 255, np.uint8))
    [sums] = _rows_of(failing_on_white(artifact), [*dark[:2], white, *dark[2:]])
    assert sums.images == 6 and sums.label_counts.sum() == 6


def test_other_activations_than_in_calibration_are_an_error() -> None:
    """Another torch may run other operators: figures of one must not be compared with those of another."""
    artifact = digits_artifact()
    profile = artifact.manifest.calibration_profile
    assert profile is not None
    renamed = tuple(replace(activation, name=f"other.{activation.name}") for activation in profile.activations)
    manifest = replace(artifact.manifest, calibration_profile=replace(profile, activations=renamed))
    with pytest.raises(EngineError, match="quantized activations that the manifest") as caught:
        _rows(replace(artifact, manifest=manifest), list(digit_files(2)))
    assert caught.value.hint is not None and artifact.manifest.torch_version in caught.value.hint


@pytest.mark.parametrize("recipe", ["static", "dynamic"])
def test_the_profile_in_the_manifest_is_what_calibration_images_give(recipe: str) -> None:
    """Measured the same way on the driver and on a worker."""
    artifact = digits_artifact(recipe)
    profile = artifact.manifest.calibration_profile
    assert isinstance(profile, CalibrationProfile) and profile.images == 64
    [sums] = _rows(artifact, [encoded(image) for image in digits()[0].images[:64]])
    assert np.array_equal(sums.score_counts, profile.score_counts)
    assert np.array_equal(sums.label_counts, profile.label_histogram(10))
    assert bool(profile.activations) is (recipe == "static")
    np.testing.assert_allclose(sums.saturated / 64, [activation.saturated for activation in profile.activations], rtol=1e-9)
    deviation = np.sqrt(sums.saturated_squares / 64 - (sums.saturated / 64) ** 2)
    np.testing.assert_allclose(deviation, [activation.deviation for activation in profile.activations], rtol=1e-5, atol=1e-8)
