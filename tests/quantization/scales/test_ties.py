"""No value lies in the middle between two steps, so that every engine gives the exact reference's integers."""
from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from sparkq.artifact.file import ModelArtifact
from sparkq.config import QuantizationConfig
from sparkq.engines.registry import fitting_engines
from sparkq.images.preprocess import preprocess_content
from sparkq.metrics.sqnr import sqnr_of
from sparkq.quantization import quantize
from sparkq.quantization.scales.ties import off_tie_biases, scale_grid, snap
from sparkq.worker.predictor import Predictor
from tests.exact_arithmetic import run_exactly
from tests.models import REFERENCES, SMALL, SmallNet, noise, reference_artifact, reference_files, reference_model

Pixels = npt.NDArray[np.uint8]
TORCH_ENGINES = ("fbgemm", "x86", "onednn")


class Kinds(nn.Module):
    """Every kernel that has ties of its own: dense, depthwise, grouped, 1 x 1, additions, concatenation, pooling."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            self.dense, self.depthwise = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1, groups=16)
            self.grouped, self.pointwise = nn.Conv2d(16, 16, 3, padding=1, groups=2), nn.Conv2d(16, 16, 1)
            self.last, self.linear = nn.Conv2d(32, 16, 3), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        """float32 [N, 3, H, W] to [N, 5]."""
        x = self.dense(x).relu()
        x = (x + self.grouped(self.depthwise(x).relu())).relu()
        x = x + self.pointwise(x)
        x = torch.cat([x, nn.functional.max_pool2d(x, 3, 1, 1)], 1)
        logits: Tensor = self.linear(self.last(x).relu().mean((2, 3)))
        return logits


def _pixels(shared_data: Path, name: str, count: int) -> Pixels:
    step = 50 if name == "resnet20" else 9
    return np.stack([
        preprocess_content(file, REFERENCES[name].preprocess) for file in reference_files(shared_data, name, count, step=step)
    ])


@pytest.fixture(scope="module", params=["kinds", "resnet20", "mobilenet", "squeezenet"])
def case(request: pytest.FixtureRequest) -> tuple[ModelArtifact, Pixels]:
    """A static artifact and images."""
    if request.param == "kinds":
        return quantize(Kinds(), calibration=noise(16), preprocess=SMALL), np.stack(noise(40, seed=7))
    shared_data = request.getfixturevalue("shared_data")
    return reference_artifact(shared_data, request.param), _pixels(shared_data, request.param, 30 if "20" in request.param else 6)


@pytest.mark.parametrize("engine", TORCH_ENGINES)
def test_no_kernel_differs_from_exact_arithmetic(case: tuple[ModelArtifact, Pixels], engine: str) -> None:
    """Not by a single step in a single element; the last linear layer and means in float alone may have ties."""
    _, exact = run_exactly(case[0].payload, case[1], engine)
    assert sum(exact.elements.values()) > 100_000
    assert exact.different["mean"] <= exact.ties["mean"]
    assert {kernel: count for kernel, count in exact.different.items() if count and kernel not in ("linear", "mean")} == {}
    assert {kernel: count for kernel, count in exact.ties.items() if count and kernel not in ("linear", "mean")} == {}


@pytest.mark.parametrize("engine", fitting_engines("static"))
def test_every_engine_gives_the_references_answer(case: tuple[ModelArtifact, Pixels], engine: str) -> None:
    """Also as it runs: fused, frozen, and each layer on the results of the one before."""
    artifact, images = case
    expected, _ = run_exactly(artifact.payload, images)
    outputs = Predictor(artifact, engine=engine).engine.run(images)
    assert sqnr_of(expected, outputs) > 60
    assert np.array_equal(outputs.argmax(1), expected.argmax(1))


@pytest.mark.parametrize("avoid_ties", [False, True])
def test_without_it_every_pixel_may_be_a_tie(shared_data: Path, avoid_ties: bool) -> None:
    """MobileNet's pixels, from -1 to 1, in 256 steps: the reason that two right engines were 23 dB apart."""
    black_and_white = [np.full((224, 224, 3), level, np.uint8) for level in (0, 255)]
    artifact = quantize(
        reference_model(shared_data, "mobilenet"), preprocess=REFERENCES["mobilenet"].preprocess,
        calibration=[*black_and_white, *reference_files(shared_data, "mobilenet", 4)],
        config=QuantizationConfig(avoid_ties=avoid_ties, rounding="nearest", bias_correction=False, observer="min_max"),
    )
    _, exact = run_exactly(artifact.payload, _pixels(shared_data, "mobilenet", 2))
    shares = {kernel: exact.ties[kernel] / exact.elements[kernel] for kernel in ("quantize", "1x1")}
    assert (shares["quantize"] > 0.9 and shares["1x1"] > 0) != avoid_ties
    assert (sum(shares.values()) == 0) == avoid_ties
    assert (exact.different["quantize"] > 0) != avoid_ties


@pytest.mark.parametrize("config", [
    QuantizationConfig(rounding="nearest"), QuantizationConfig(rounding="nearest", bias_correction=False),
    QuantizationConfig(bias_correction=False), QuantizationConfig(recipe="mixed", float_layers=("conv1",)),
    QuantizationConfig(target="avx2"),
], ids=["nearest", "nothing_fitted", "weights_fitted", "mixed", "avx2"])
def test_whatever_else_is_switched(config: QuantizationConfig) -> None:
    """Ties are avoided however weights are rounded; only what a float layer computed may lie anywhere."""
    artifact = quantize(SmallNet(), calibration=noise(8), preprocess=SMALL, config=config)
    _, exact = run_exactly(artifact.payload, np.stack(noise(60, seed=5)))
    assert sum(exact.elements.values()) > 10_000
    assert exact.different["dense"] == 0 and (exact.different["quantize"] == 0 or config.recipe == "mixed")
    assert exact.ties["dense"] == 0 and (exact.ties["quantize"] == 0 or config.recipe == "mixed")


@given(
    input_scale=st.floats(1e-4, 10), output_scale=st.floats(1e-4, 10), bias=st.floats(-100, 100), scale=st.floats(1e-6, 1),
    total=st.integers(-2**24, 2**24),
)
def test_no_sum_comes_near_a_tie(input_scale: float, output_scale: float, bias: float, scale: float, total: int) -> None:
    """In exact fractions: any integer sum, with any bias, is a quarter of the grid away from the middle at least."""
    grid = scale_grid(input_scale, output_scale, torch.tensor([bias]))
    chosen = snap(torch.tensor([scale], dtype=torch.float64), grid)
    step = Fraction(float(grid)) * Fraction(input_scale)
    settled = Fraction(float(off_tie_biases(torch.tensor([bias]), grid, input_scale)))
    multiple = round(float(chosen / grid))
    assert multiple >= 1 and abs(settled - Fraction(bias)) <= step * Fraction(51, 100) + abs(Fraction(bias)) / 2**22
    # In units of the output's step; the bias is a float32, so its own rounding counts.
    value = (total * multiple * step + settled) / Fraction(output_scale)
    slack = abs(settled) / 2**23 / Fraction(output_scale)
    assert abs(value - int(value // 1) - Fraction(1, 2)) >= step / Fraction(output_scale) / 4 - slack - Fraction(1, 2**30)


def test_scales_move_little() -> None:
    """Where they are far larger than the grid; up never goes down, and without a grid nothing moves."""
    scales, grid = torch.tensor([1.0, 0.3, 1e-9]), torch.tensor([0.01, 0.07, 0.01])
    assert snap(scales, grid).tolist() == pytest.approx([1.0, 0.28, 0.01])
    assert snap(scales, grid, up=True).tolist() == pytest.approx([1.0, 0.35, 0.01])
    assert snap(scales, None) is scales
