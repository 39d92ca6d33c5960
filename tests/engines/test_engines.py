"""Engines: which one fits, what it computes with, and that it leaves the process as it found it."""
from __future__ import annotations

import socket
from dataclasses import replace

import numpy as np
import pytest
import torch

from sparkq.artifact.file import ModelArtifact
from sparkq.config import QuantizationConfig
from sparkq.engines.base import LoadOptions
from sparkq.engines.load import load_engine
from sparkq.engines.node import describe_node
from sparkq.engines.registry import fitting_engines
from sparkq.errors import ArtifactFormatError, EngineError, SparkqError
from sparkq.quantization import quantize
from sparkq.worker.fitting import engine_for
from sparkq.worker.predictor import Predictor
from tests.models import SMALL, NotFiniteOnBlack, SmallNet, digits_artifact, float_artifact, noise

OPTIONS = LoadOptions((16, 16))


class Saturating(torch.nn.Module):
    """Depthwise with weights at the largest integer: what fbgemm's 16-bit sums cannot hold."""

    def __init__(self) -> None:
        super().__init__()
        # How far it saturates depends on every weight, so all are drawn from the seed.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(4)
            self.wide, self.depthwise = torch.nn.Conv2d(3, 8, 1), torch.nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
            self.linear = torch.nn.Linear(8, 4)
            for layer in (self.wide, self.linear):
                layer.weight.data = torch.rand(layer.weight.shape)
        self.depthwise.weight.data.fill_(1.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """float32 [N, 3, H, W] to [N, 4]."""
        logits: torch.Tensor = self.linear(self.depthwise(self.wide(x).relu()).relu().mean((2, 3)))
        return logits


@pytest.fixture(scope="module")
def int8() -> ModelArtifact:
    """A small static artifact."""
    return quantize(SmallNet(), calibration=noise(4), preprocess=SMALL, config=QuantizationConfig(float_output=False))


@pytest.fixture(scope="module")
def floating() -> ModelArtifact:
    """The same model, recipe none."""
    return float_artifact(SmallNet(), bright=256)


class TestChoice:
    """float32 and bfloat16 run float artifacts, the others INT8 ones."""

    def test_the_one_that_fits(self, int8: ModelArtifact, floating: ModelArtifact) -> None:
        assert engine_for(int8) == engine_for(int8, "fbgemm") == "fbgemm"
        assert engine_for(floating) == engine_for(floating, "float32") == "float32"

    def test_one_that_does_not_fit(self, int8: ModelArtifact, floating: ModelArtifact) -> None:
        wrong = [(int8, "float32"), (int8, "bfloat16"), *((floating, name) for name in fitting_engines("static"))]
        for artifact, engine in wrong:
            for call in (engine_for, lambda artifact, engine: Predictor(artifact, engine=engine)):
                with pytest.raises(EngineError, match=f"engine {engine}.*recipe") as caught:
                    call(artifact, engine)
                assert caught.value.hint and "\n" not in str(caught.value)

    def test_unknown_one(self, int8: ModelArtifact) -> None:
        with pytest.raises(SparkqError, match="tensorrt"):
            engine_for(int8, "tensorrt")

    def test_the_rows_name_it(self, int8: ModelArtifact, floating: ModelArtifact) -> None:
        assert Predictor(int8).engine.name == "fbgemm"
        assert Predictor(floating).engine.name == "float32"


class TestRun:
    """uint8 [N, H, W, 3] to float32 [N, C]."""

    @pytest.mark.parametrize("count", [1, 2, 9])
    def test_shape_and_dtype(self, count: int, int8: ModelArtifact, floating: ModelArtifact) -> None:
        images = np.stack(noise(count))
        for artifact in (int8, floating):
            for name in fitting_engines(artifact.manifest.quantization.recipe):
                engine = load_engine(artifact.payload, name, LoadOptions((16, 16), batch_size=4))
                output = engine.run(images)
                assert engine.name == name
                assert output.shape == (count, 4) and output.dtype == np.float32
                assert output.flags.c_contiguous

    def test_it_is_an_int8_kernel(self, int8: ModelArtifact, floating: ModelArtifact) -> None:
        """Near to the float answer, on a grid of at most 256 values, where the last layer rounds as the others do."""
        images = np.stack(noise(200, seed=2))
        quantized = load_engine(int8.payload, "fbgemm", OPTIONS).run(images)
        exact = load_engine(floating.payload, "float32", OPTIONS).run(images)
        assert 0 < np.abs(quantized - exact).max() < 0.1 * np.ptp(exact)
        assert len(np.unique(quantized)) <= 256 < len(np.unique(exact))

    @pytest.mark.parametrize("count", [1, 8, 9, 19])
    def test_a_batch_in_parts(self, count: int, int8: ModelArtifact) -> None:
        """fbgemm runs few images at a time where that changes no output: bit for bit, in order."""
        images = np.stack(noise(count, seed=3))
        whole, parts = (
            load_engine(int8.payload, "fbgemm", LoadOptions((16, 16), divisible=divisible)).run(images)
            for divisible in (False, True)
        )
        assert np.array_equal(whole, parts)

    def test_input_is_not_written_to(self, int8: ModelArtifact) -> None:
        images = np.stack(noise(2))
        before = images.copy()
        load_engine(int8.payload, "fbgemm", OPTIONS).run(images)
        assert np.array_equal(images, before)


class TestProcessWideSetting:
    """``torch.backends.quantized.engine`` belongs to the process."""

    @pytest.mark.parametrize("name", ["fbgemm", "x86", "onednn"])
    @pytest.mark.parametrize("engine", torch.backends.quantized.supported_engines)
    def test_it_is_left_as_it_was(self, engine: str, name: str, int8: ModelArtifact, monkeypatch: pytest.MonkeyPatch) -> None:
        """And the weights were packed for the engine: the answer does not depend on it."""
        expected = load_engine(int8.payload, name, OPTIONS).run(np.stack(noise(2)))
        monkeypatch.setattr(torch.backends.quantized, "engine", engine)
        loaded = load_engine(int8.payload, name, OPTIONS)
        assert torch.backends.quantized.engine == engine
        assert np.array_equal(loaded.run(np.stack(noise(2))), expected)

    def test_engines_side_by_side(self) -> None:
        """A saturating depthwise layer tells fbgemm's packing from oneDNN's: each keeps its own, called in turn."""
        artifact = quantize(
            Saturating(), calibration=noise(4), preprocess=SMALL,
            config=QuantizationConfig(limit_depthwise_weights=False, rounding="nearest", equalization=False, weight_scales="max"),
        )
        images = np.full((2, 16, 16, 3), 255, np.uint8)
        engines = {name: load_engine(artifact.payload, name, OPTIONS) for name in ("fbgemm", "onednn", "openvino")}
        first, second = ({name: engine.run(images) for name, engine in engines.items()} for _ in range(2))
        assert all(np.array_equal(first[name], second[name]) for name in engines)
        assert np.abs(first["fbgemm"] - first["onednn"]).max() > 0.03 * np.abs(first["onednn"]).max()
        np.testing.assert_allclose(first["openvino"], first["onednn"], rtol=1e-4)

    def test_after_a_payload_that_does_not_load(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.backends.quantized, "engine", "qnnpack")
        with pytest.raises(ArtifactFormatError):
            load_engine(b"no archive", "fbgemm", OPTIONS)
        assert torch.backends.quantized.engine == "qnnpack"


class TestGoldenCheck:
    """A node that computes wrong results is found when it loads the model, not in the table."""

    @pytest.mark.parametrize("recipe", ["static", "none"])
    def test_right_results_pass(self, recipe: str) -> None:
        artifact = digits_artifact(recipe)
        assert Predictor(ModelArtifact.loads(artifact.dumps())).golden_sqnr_db > 100

    @pytest.mark.parametrize("alter", [
        lambda output: output[::-1].copy(),
        lambda output: output * np.float32(1.2),
        lambda output: np.zeros_like(output),
        lambda output: np.full_like(output, np.nan),
    ], ids=["reversed", "scaled", "zero", "not_a_number"])
    @pytest.mark.parametrize("recipe", ["static", "none"])
    def test_altered_golden_output(self, recipe: str, alter: object) -> None:
        """The message names engine, host, CPU, artifact, both classes and how far off it is."""
        artifact = digits_artifact(recipe)
        golden = artifact.manifest.golden
        altered = replace(golden, output=alter(golden.output))  # type: ignore[operator]
        broken = ModelArtifact(replace(artifact.manifest, golden=altered), artifact.payload)
        with pytest.raises(EngineError) as caught:
            Predictor(broken)
        message = str(caught.value)
        assert describe_node() in message and socket.gethostname() in message
        assert "fbgemm" in message if recipe == "static" else "float32" in message
        assert "DigitsNet" in message and "dB" in message and "25" in message
        assert f"largest at {int(golden.output.argmax())}" in message
        assert caught.value.hint and "\n" not in message

    def test_altered_golden_input(self) -> None:
        artifact = digits_artifact()
        altered = replace(artifact.manifest.golden, pixels=255 - artifact.manifest.golden.pixels)
        with pytest.raises(EngineError, match="golden output"):
            Predictor(ModelArtifact(replace(artifact.manifest, golden=altered), artifact.payload))

    def test_node_that_computes_no_numbers(self) -> None:
        """NaN is not within any limit: here the input is altered to one that gives 0 / 0."""
        artifact = float_artifact(NotFiniteOnBlack(infinite=False))
        altered = replace(artifact.manifest.golden, pixels=np.zeros_like(artifact.manifest.golden.pixels))
        with pytest.raises(EngineError, match="golden output"):
            Predictor(ModelArtifact(replace(artifact.manifest, golden=altered), artifact.payload))

    def test_wrong_number_of_outputs(self) -> None:
        artifact = digits_artifact()
        altered = replace(artifact.manifest.golden, output=artifact.manifest.golden.output[:9])
        with pytest.raises(EngineError, match="9"):
            Predictor(ModelArtifact(replace(artifact.manifest, golden=altered), artifact.payload))

    def test_single_rounding_steps_pass(self) -> None:
        """Another right INT8 kernel differs by one step of the output's grid in some places."""
        artifact = digits_artifact()
        golden = artifact.manifest.golden
        levels = np.unique(Predictor(artifact).engine.run(golden.input((32, 32))[np.newaxis]))
        step = float(np.diff(levels).min())
        altered = golden.output.copy()
        altered[::3] += step
        moved = replace(golden, output=altered)
        assert Predictor(ModelArtifact(replace(artifact.manifest, golden=moved), artifact.payload)).golden_sqnr_db > 25
