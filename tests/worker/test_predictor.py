"""One model, ready to predict: scores, ranking, and answers that depend on nothing but the image."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparkq.artifact.file import ModelArtifact
from sparkq.engines.registry import fitting_engines
from sparkq.images.preprocess import preprocess_content
from sparkq.model_tasks.ranking import ranked
from sparkq.quantization import quantize
from sparkq.worker.predictor import Predictor
from tests.models import (
    SMALL,
    NotFiniteOnBlack,
    SmallNet,
    classified,
    digit_files,
    digits_artifact,
    float_artifact,
    noise,
    reference_artifact,
    reference_files,
)

Floats = npt.NDArray[np.float32]


class TestPredict:
    """Outputs, labels, scores."""

    def test_of_logits(self) -> None:
        predictor, pixels = Predictor(digits_artifact()), _pixels(digits_artifact(), digit_files(20))
        outputs, (labels, scores) = predictor.engine.run(pixels), classified(predictor, pixels, top_k=3)
        assert outputs.shape == (20, 10) and labels.shape == scores.shape == (20, 3)
        assert np.array_equal(labels, ranked(outputs, 3))
        expected = torch.from_numpy(outputs).softmax(1).numpy()
        np.testing.assert_allclose(scores, np.take_along_axis(expected, labels, axis=1), rtol=1e-5)
        assert (np.diff(scores, axis=1) <= 0).all()

    def test_more_than_there_are_classes(self) -> None:
        labels, scores = classified(Predictor(digits_artifact()), _pixels(digits_artifact(), digit_files(2)), top_k=50)
        assert np.array_equal(np.sort(labels, axis=1), [list(range(10))] * 2)
        np.testing.assert_allclose(scores.sum(1), 1, rtol=1e-6)

    @pytest.mark.parametrize("infinite", [False, True])
    def test_output_that_is_no_number_harms_no_other_row(self, infinite: bool) -> None:
        predictor = Predictor(float_artifact(NotFiniteOnBlack(infinite=infinite)))
        images = np.stack(noise(3))
        among = np.concatenate([images[:1], np.zeros_like(images[:1]), images[1:]])
        expected, outputs = (predictor.run_rows(batch, batch_size=len(batch)).outputs for batch in (images, among))
        assert not np.isfinite(outputs[1]).all()
        assert np.array_equal(np.delete(outputs, 1, axis=0), expected)
        for found, alone in zip(classified(predictor, among), classified(predictor, images), strict=True):
            assert np.array_equal(np.delete(found, 1, axis=0), alone)

    @pytest.mark.parametrize("threads", [1, 2])
    def test_threads(self, threads: int) -> None:
        before = torch.get_num_threads()
        try:
            Predictor(digits_artifact(), threads=threads)
            assert torch.get_num_threads() == threads
            Predictor(digits_artifact())
            assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(before)


def _pixels(artifact: ModelArtifact, files: tuple[bytes, ...] | list[bytes]) -> npt.NDArray[np.uint8]:
    return np.stack([preprocess_content(file, artifact.manifest.preprocess) for file in files])


def _digits(shared_data: Callable[[], Path]) -> tuple[ModelArtifact, list[bytes]]:
    return digits_artifact(), list(digit_files(40))


def _unusual(shared_data: Callable[[], Path]) -> tuple[ModelArtifact, list[bytes]]:
    """1000 classes and an odd number of channels, so that vectorized loops have remainders; a softmax in float."""
    return quantize(SmallNet(999, torch.nn.Softmax(1)), calibration=noise(8), preprocess=SMALL), list(digit_files(40))


def _real(name: str, count: int) -> Callable[[Callable[[], Path]], tuple[ModelArtifact, list[bytes]]]:
    step = 50 if name == "resnet20" else 9
    return lambda shared_data: (reference_artifact(shared_data(), name), reference_files(shared_data(), name, count, step=step))


MODELS = {
    "digits": _digits, "unusual": _unusual, "resnet20": _real("resnet20", 40), "squeezenet": _real("squeezenet", 8),
    "mobilenet": _real("mobilenet", 8),
}


@dataclass(frozen=True)
class Alone:
    """An INT8 artifact, real images, an engine, and its output for each of them alone."""

    artifact: ModelArtifact
    images: npt.NDArray[np.uint8]
    engine: str
    outputs: Floats

    def predictor(self) -> Predictor:
        """A new one."""
        return Predictor(self.artifact, engine=self.engine, batch_size=8)


CASES = [(model, engine) for model in MODELS for engine in fitting_engines("static")]


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def alone(request: pytest.FixtureRequest) -> Alone:
    """Every model on every engine."""
    model, engine = request.param
    artifact, files = MODELS[model](lambda: request.getfixturevalue("shared_data"))
    images = _pixels(artifact, files)
    predictor = Predictor(artifact, engine=engine, batch_size=8)
    return Alone(artifact, images, engine, np.concatenate([predictor.engine.run(image[np.newaxis]) for image in images]))


@settings(max_examples=4, deadline=None)
@given(data=st.data())
def test_an_int8_prediction_depends_only_on_its_image(alone: Alone, data: st.DataObject) -> None:
    """Bit for bit, whatever the batch mates, the batch's size, the position in it, and the predictor that computes it."""
    predictor = alone.predictor()
    expected = classified(alone.predictor(), alone.images, top_k=10)
    largest = 20 if len(alone.images) > 8 else 5
    for _ in range(3):  # TorchScript optimizes the graph after its first runs
        indices = st.lists(st.integers(0, len(alone.images) - 1), min_size=1, max_size=largest)
        chosen = data.draw(indices, label="images of a batch")
        outputs = predictor.run_rows(alone.images[chosen], batch_size=len(chosen)).outputs
        assert outputs.tobytes() == alone.outputs[chosen].tobytes()
        for found, each_alone in zip(classified(predictor, alone.images[chosen], top_k=10), expected, strict=True):
            assert found.tobytes() == each_alone[chosen].tobytes()


def test_different_images_get_different_outputs(alone: Alone) -> None:
    """Or the test above would hold for a model that looks at nothing."""
    assert len({output.tobytes() for output in alone.outputs}) > len(alone.images) // 2
