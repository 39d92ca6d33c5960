"""What a report shows of each layer, against figures computed another way."""
from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sparkq.config import PreprocessConfig, QuantizationConfig, ResizeConfig
from sparkq.demo.digits import PREPROCESS
from sparkq.quantization.calibration.histogram import Histogram
from sparkq.quantization.calibration.image_set import CalibrationSet, calibration_set
from sparkq.quantization.diagnosis import Diagnosis, Distribution, diagnose
from sparkq.quantization.normalization import normalize
from tests.models import REFERENCES, digits, digits_net, reference_artifact, reference_files, reference_model

LAYERS = {
    "features.0": ("convolution", (16, 3, 3, 3), 32 * 32 * 16 * 27),
    "features.4": ("convolution", (32, 16, 3, 3), 16 * 16 * 32 * 144),
    "features.8": ("convolution", (64, 32, 3, 3), 8 * 8 * 64 * 288),
    "classifier": ("linear", (10, 64), 640),
}


def digits_calibration(count: int = 80) -> CalibrationSet:
    return calibration_set(digits()[0].images[:count], PREPROCESS)


def diagnose_digits(config: QuantizationConfig, count: int = 80) -> Diagnosis:
    return diagnose(digits_net(), digits_calibration(count), PREPROCESS, config)


def test_layers_of_a_network() -> None:
    """All of them in its order, with their weights and multiply-accumulates, and the network is left as it was."""
    before = copy.deepcopy(digits_net().state_dict())
    found = diagnose_digits(QuantizationConfig())
    assert {layer.name: (layer.kind, layer.weight_shape, layer.macs) for layer in found.layers} == LAYERS
    assert [layer.name for layer in found.layers] == list(LAYERS)
    assert all(torch.equal(tensor, before[name]) for name, tensor in digits_net().state_dict().items())
    for layer in found.layers:
        assert layer.weights.counts.sum() == np.prod(layer.weight_shape)
        assert layer.sensitivity_db is not None and 15 < layer.sensitivity_db < 80
    assert (found.observer, found.images, found.sensitivity_images) == ("histogram", 64, 16)


def test_weights_are_the_float_ones() -> None:
    """Where nothing is folded or balanced, their extremes are those of the module's own weights."""
    (*_, classifier) = diagnose_digits(QuantizationConfig(recipe="none")).layers
    weight = digits_net().classifier.weight.detach().numpy()
    assert (classifier.weights.edges[0], classifier.weights.edges[-1]) == (weight.min(), weight.max())


def test_inputs_of_the_first_layer() -> None:
    """They are the normalized images, counted exactly; min_max cuts nothing off."""
    (first, *_) = diagnose_digits(QuantizationConfig(observer="min_max")).layers
    pixels = normalize(torch.from_numpy(digits_calibration().images[:64]), PREPROCESS).numpy()
    assert first.inputs is not None
    assert (first.inputs.low, first.inputs.high) == (min(pixels.min(), 0), max(pixels.max(), 0))
    assert first.inputs.clipped_share == 0
    counts, _ = np.histogram(pixels, first.inputs.distribution.edges)
    assert np.array_equal(first.inputs.distribution.counts, counts)


@pytest.mark.parametrize("target", ["vnni", "avx2"])
def test_clipped_share(target: str) -> None:
    """As counted in the inputs themselves, within the bin that the range ends in."""
    found = diagnose_digits(QuantizationConfig(observer="percentile", target=target))
    (first, *_) = found.layers
    pixels = normalize(torch.from_numpy(digits_calibration().images[:64]), PREPROCESS).numpy()
    assert first.inputs is not None
    # The observer's bins are 2**-11 wide at these values.
    farther, outside = (
        ((pixels < first.inputs.low - margin) | (pixels > first.inputs.high + margin)).mean() for margin in (2**-11, 0)
    )
    assert farther <= first.inputs.clipped_share <= outside
    shares = [layer.inputs.clipped_share for layer in found.layers if layer.inputs is not None]
    assert len(shares) == len(LAYERS) and 0 < max(shares) < 5e-4


@pytest.mark.parametrize("recipe", ["dynamic", "none"])
def test_recipes_without_calibrated_ranges(recipe: str) -> None:
    """Weights only."""
    found = diagnose_digits(QuantizationConfig(recipe=recipe), 2)
    assert [layer.name for layer in found.layers] == list(LAYERS)
    assert all(layer.inputs is None and layer.sensitivity_db is None for layer in found.layers)
    assert (found.observer, found.images, found.sensitivity_images) == (None, 0, 0)


def test_real_network(shared_data: Path) -> None:
    """ResNet-20: every layer, on the images that the artifact was calibrated on, and none that ruins the output."""
    artifact, reference = reference_artifact(shared_data, "resnet20"), REFERENCES["resnet20"]
    calibration = calibration_set(reference_files(shared_data, "resnet20", 32, step=5), reference.preprocess)
    assert calibration.fingerprint == artifact.manifest.calibration_fingerprint
    config = artifact.manifest.quantization
    found = diagnose(reference_model(shared_data, "resnet20"), calibration, reference.preprocess, config)
    assert len(found.layers) == 20 and sum(layer.macs or 0 for layer in found.layers) == pytest.approx(40.5e6, rel=0.02)
    sensitivity = [layer.sensitivity_db for layer in found.layers if layer.sensitivity_db is not None]
    assert len(sensitivity) == 20 and 25 < min(sensitivity) < max(sensitivity) < 80


class Oddities(nn.Module):
    """A layer called twice, one given its input by name, a transposed and a depthwise convolution, and a zero image."""

    def __init__(self) -> None:
        super().__init__()
        self.twice, self.deep = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, groups=3)
        self.grow, self.end = nn.ConvTranspose2d(3, 4, 2, 2), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """float32 [N, 3, H, W] to [N, 2]."""
        x = self.grow(self.deep(self.twice(input=self.twice(x))))
        result: torch.Tensor = self.end(x.mean((2, 3)))
        return result


def test_odd_layers() -> None:
    """All are shown; what the sensitivity does not measure says so; inputs of one value are a histogram too."""
    preprocess = PreprocessConfig(resize=ResizeConfig("squash", 8))
    black = CalibrationSet(np.zeros((2, 8, 8, 3), np.uint8), "")
    found = diagnose(Oddities(), black, preprocess, QuantizationConfig(equalization=False, clamp_ranges=False))
    kinds = {layer.name: layer.kind for layer in found.layers}
    assert kinds == {
        "twice": "convolution", "deep": "depthwise convolution", "grow": "transposed convolution", "end": "linear",
    }
    assert [layer.name for layer in found.layers if layer.sensitivity_db is None] == ["grow"]
    (twice, *_) = found.layers
    assert twice.inputs is not None and twice.inputs.distribution.counts.sum() == 2 * 2 * 8 * 8 * 3


@given(st.lists(st.integers(-10**6, 10**6), min_size=1, max_size=40), st.integers(-40, 20))
def test_distribution_keeps_every_value(integers: list[int], exponent: int) -> None:
    """In at most 64 bins that rise and hold the extremes."""
    values = [integer * 2.0**exponent for integer in integers]
    histogram = Histogram()
    histogram.add(torch.tensor(values))
    shown = Distribution.of_histogram(histogram)
    assert shown.counts.sum() == len(values) and len(shown.counts) <= 64 and len(shown.edges) == len(shown.counts) + 1
    assert (np.diff(shown.edges) > 0).all()
    assert shown.edges[0] <= min(values) and max(values) <= shown.edges[-1]
