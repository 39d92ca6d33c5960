"""Pruned and shared weights: only allowed integers, as many zeros as asked for, and a model that still sees."""
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sparkq.artifact.file import ModelArtifact
from sparkq.config import QuantizationConfig
from sparkq.quantization import quantize
from sparkq.quantization.recipes.dynamic import quantize_dynamic
from sparkq.quantization.recipes.static import quantize_static
from sparkq.quantization.scales.depthwise import LARGEST_PAIR, is_depthwise, largest_pairs
from sparkq.quantization.scales.torch_observers import weight_scales
from sparkq.quantization.weights.codebook import Compression, fit_codebook, project, refit_kept, spared_layers
from sparkq.quantization.weights.rounding import round_least_squares
from sparkq.worker.predictor import Predictor
from tests.quantization.trained_models import trained

COMPRESSIONS = st.builds(
    Compression, st.just(0.0) | st.floats(0, 1, exclude_max=True), st.none() | st.integers(2, 7),
)


@st.composite
def weights(draw: st.DrawFn) -> Tensor:
    """Float64 [R, K]: of any spread, also one sign, equal ones and all zero."""
    rows, taps = draw(st.integers(1, 6)), draw(st.integers(1, 40))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**20)))
    values = torch.randn(rows, taps, generator=generator, dtype=torch.float64) * draw(st.sampled_from([0.0, 1e-9, 1.0, 1e6]))
    return draw(st.sampled_from([values, values.abs(), -values.abs(), values.round(), torch.ones_like(values)]))


def assert_allowed(integers: Tensor, compression: Compression) -> None:
    assert torch.equal(integers, integers.round()) and integers.min() >= -128 and integers.max() <= 127
    assert int((integers == 0).sum()) >= round(compression.pruning * integers.numel())
    if compression.shared_weight_bits is not None:
        assert len({*integers.unique().tolist(), 0.0}) <= 2**compression.shared_weight_bits


@settings(max_examples=150, deadline=None)
@given(rows=weights(), compression=COMPRESSIONS)
def test_projected_weights_are_allowed(rows: Tensor, compression: Compression) -> None:
    """And a second projection finds nothing left to prune."""
    scales = weight_scales(rows)
    integers = project(rows, scales, compression)
    assert_allowed(integers, compression)
    if not compression:
        assert torch.equal(integers, (rows / scales[:, None]).round().clamp(-128, 127))


@settings(max_examples=60, deadline=None)
@given(weight=weights(), compression=COMPRESSIONS, groups=st.integers(1, 2), samples=st.sampled_from([0, 3, 200]))
def test_fitted_weights_are_allowed(weight: Tensor, compression: Compression, groups: int, samples: int) -> None:
    """Whatever the inputs were: none at all, too few to tell weights apart, or enough."""
    stacked = weight.repeat(groups, 1, 1)
    inputs = torch.randn(samples, weight.shape[1], generator=torch.Generator().manual_seed(1), dtype=torch.float64).relu()
    gram = (inputs.mT @ inputs / max(samples, 1)).expand(groups, -1, -1)
    integers, scales = round_least_squares(stacked, gram, gram, compression=compression)
    assert torch.isfinite(integers).all() and torch.isfinite(scales).all() and (scales > 0).all()
    assert_allowed(integers, compression)


def test_shared_integers_lie_where_the_weights_are() -> None:
    """Four clusters and zero are found again, from evenly spaced values."""
    centres = torch.tensor([-100.0, -30.0, 20.0, 110.0])
    rows = (centres.repeat(50) + torch.linspace(-2, 2, 200))[None]
    codebook = fit_codebook(rows, torch.ones(1), Compression(shared_weight_bits=3))
    found = codebook.nearest(rows, codebook.kept)
    assert (found - centres.repeat(50)).abs().max() <= 1.5
    assert codebook.table[128] == 0


def correlated(samples: int, taps: int) -> Tensor:
    torch.manual_seed(0)
    return (torch.randn(samples, taps, dtype=torch.float64) @ torch.randn(taps, taps, dtype=torch.float64)).relu()


def test_kept_weights_are_the_least_squares_solution() -> None:
    """What conjugate gradients find is what solving each row's own equations gives."""
    inputs = correlated(500, 24)
    gram = (inputs.mT @ inputs / 500 + 0.5 * torch.eye(24, dtype=torch.float64))[None]
    weight = torch.randn(1, 6, 24, dtype=torch.float64)
    fitted = refit_kept(weight, gram, 0.5)
    assert int((fitted == 0).sum()) == 72
    for row, wanted in zip(fitted[0], weight[0], strict=True):
        kept = row != 0
        exact = torch.linalg.solve(gram[0][kept][:, kept], (gram[0] @ wanted)[kept])
        assert torch.allclose(row[kept], exact, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("compression", [Compression(0.5), Compression(0.0, 4), Compression(0.4, 4)], ids=str)
def test_error_feedback_beats_projection(compression: Compression) -> None:
    """The weights that are left make up for what was taken."""
    inputs = correlated(4000, 48)
    gram = (inputs.mT @ inputs / 4000)[None]
    weight = torch.randn(1, 16, 48, dtype=torch.float64)
    scales = weight_scales(weight[0])

    def error(other: Tensor) -> float:
        return float(((other - weight[0]) @ gram[0] * (other - weight[0])).sum())

    integers, fitted_scales = round_least_squares(weight, gram, gram, compression=compression)
    plain = project(weight[0], scales, compression) * scales[:, None]
    assert error(integers[0] * fitted_scales[0][:, None]) < 0.75 * error(plain)


def test_small_and_depthwise_layers_are_spared() -> None:
    layers = {
        "first": torch.zeros(8, 3, 3, 3), "depthwise": torch.zeros(4000, 1, 3, 3), "wide": torch.zeros(256, 128, 1, 1),
        "grouped": torch.zeros(64, 16, 3, 3), "last": torch.zeros(10, 256),
    }
    assert spared_layers(layers) == {"first", "depthwise"}


def int8_weights(model: nn.Module) -> dict[str, Tensor]:
    """Integers of every INT8 layer."""
    found = {}
    for name, module in model.named_modules():
        weight = getattr(module, "weight", None)
        weight = weight() if callable(weight) else weight
        if isinstance(weight, Tensor) and (weight.is_quantized or weight.dtype == torch.int8):
            found[name] = (weight.int_repr() if weight.is_quantized else weight).float()
    return found


@pytest.mark.parametrize("changes", [{}, {"rounding": "nearest", "bias_correction": False}, {"recipe": "dynamic"}], ids=str)
def test_every_layer_of_a_model_is_compressed_but_the_spared(shared_data: Path, changes: dict[str, object]) -> None:
    """Also of one with depthwise layers, whose pairs stay within what fbgemm can sum."""
    case = trained(shared_data, "mobilenet_v1_025", images=8)
    config = replace(QuantizationConfig(pruning=0.4, shared_weight_bits=5, float_slow_layers=False, batch_size=8), **changes)
    recipe = quantize_dynamic if config.recipe == "dynamic" else quantize_static
    integers = int8_weights(recipe(case.model, case.calibration, case.preprocess, config))
    spared = spared_layers(integers)
    assert len(integers) == 28 and 13 < len(spared) < 24
    for name, weight in integers.items():
        if name not in spared:
            assert_allowed(weight, Compression.of(config))
        elif is_depthwise(weight) and config.recipe == "static":
            assert largest_pairs(weight.flatten(1)).max() <= LARGEST_PAIR
    assert max(len(integers[name].unique()) for name in spared) > 32


@pytest.fixture(scope="module")
def compressed(shared_data: Path) -> tuple[ModelArtifact, ModelArtifact, np.ndarray]:
    """A trained network plain and compressed, with images that neither was calibrated on."""
    case = trained(shared_data, "resnet20_cifar10", images=32, held_out=64)
    made = [
        quantize(case.model, calibration=list(case.calibration.images), preprocess=case.preprocess, config=config)
        for config in (QuantizationConfig(), QuantizationConfig(pruning=0.3, shared_weight_bits=5, entropy_coding=True))
    ]
    return made[0], made[1], case.held_out


def test_a_trained_model_shrinks_and_stays_accurate(compressed: tuple[ModelArtifact, ModelArtifact, np.ndarray]) -> None:
    """To less than three quarters of its coded INT8 file, with the same first label on nearly all images."""
    plain, small, images = compressed
    assert len(small.dumps()) < 0.75 * len(plain.dumps())
    labels = [Predictor(artifact).engine.run(images).argmax(1) for artifact in (plain, small)]
    assert (labels[0] == labels[1]).mean() > 0.9


def test_entropy_coding_changes_no_bit_of_a_prediction(compressed: tuple[ModelArtifact, ModelArtifact, np.ndarray]) -> None:
    """Stored plain or coded, it is the same payload with the same digest."""
    _, small, images = compressed
    config = replace(small.manifest.quantization, entropy_coding=False)
    stored = ModelArtifact(replace(small.manifest, quantization=config), small.payload)
    assert len(small.dumps()) < 0.75 * len(stored.dumps())
    outputs = [Predictor(ModelArtifact.loads(artifact.dumps())).engine.run(images) for artifact in (stored, small)]
    assert np.array_equal(outputs[0], outputs[1]) and stored.digest == small.digest
