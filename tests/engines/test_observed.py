"""Saturation is counted on the very values that the payload computes, and watching changes none of them."""
from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sparkq.artifact.file import ModelArtifact
from sparkq.config import PreprocessConfig, QuantizationConfig, ResizeConfig
from sparkq.engines.base import LoadOptions
from sparkq.engines.load import load_engine
from sparkq.engines.observed import observe
from sparkq.quantization import quantize
from tests.models import SMALL, SmallNet, noise


class Residual(nn.Module):
    """Two convolutions beside a shortcut, so that there is an operator without weights."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(2)
            self.stem, self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 1)
            self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        """float32 [N, 3, H, W] to [N, 4]."""
        x = self.stem(x).relu()
        x = self.second(self.first(x).relu()) + x
        result: Tensor = self.head(x.mean((2, 3)))
        return result


def _artifact(model: nn.Module, **config: object) -> ModelArtifact:
    return quantize(
        model, calibration=noise(16, high=128), preprocess=SMALL, config=QuantizationConfig(observer="min_max", **config),
    )


def test_watching_changes_nothing_and_goes_by_image() -> None:
    """The outputs are the engine's to the bit, and an image's shares do not depend on its batch."""
    engine = load_engine(_artifact(SmallNet()).payload, "fbgemm", LoadOptions((16, 16)))
    images = np.stack(noise(5, seed=1))
    observed = observe(engine, images, levels=256)
    assert np.array_equal(observed.outputs, engine.run(images))
    assert observed.saturated.shape == (5, len(observed.names))
    alone = np.concatenate([observe(engine, image[np.newaxis], levels=256).saturated for image in images])
    assert np.array_equal(observed.saturated, alone)


def test_names_are_layers_where_there_are_weights() -> None:
    engine = load_engine(_artifact(Residual()).payload, "fbgemm", LoadOptions((16, 16)))
    observed = observe(engine, np.stack(noise(2)), levels=256)
    assert observed.names == ("quantize_per_tensor_0", "stem", "first", "second", "add_0")


@pytest.mark.parametrize(("target", "levels"), [("vnni", 256), ("avx2", 128)])
def test_the_input_saturates_where_pixels_are_brighter_than_calibrated(target: str, levels: int) -> None:
    """Calibrated on pixels below 128: of each image, exactly the brighter ones lie at the end, and the range says so."""
    artifact = _artifact(SmallNet(), target=target)
    engine = load_engine(artifact.payload, "fbgemm", LoadOptions((16, 16)))
    dark, mixed = np.full((16, 16, 3), 60, np.uint8), np.full((16, 16, 3), 60, np.uint8)
    mixed[:4] = 250
    observed = observe(engine, np.stack([dark, mixed]), levels=levels)
    assert observed.names[0] == "quantize_per_tensor_0"
    assert observed.saturated[:, 0].tolist() == [0.0, 0.25]
    low, high = observed.ranges[0]
    # The scale may be a little larger, so that no pixel lies on a tie.
    assert low == 0 and high == pytest.approx(127 / 255, rel=1e-2)
    profile = artifact.manifest.calibration_profile
    assert profile is not None and (profile.activations[0].low, profile.activations[0].high) == (low, high)


def test_the_lowest_level_counts_only_where_it_is_not_zero() -> None:
    """A ReLU puts values there, whatever the image; a signed activation that ends there was cut off."""
    preprocess = PreprocessConfig(resize=ResizeConfig("squash", 16), mean=0.5, std=0.5)
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 256, 4))
    with torch.no_grad():
        net[0].weight.fill_(1.0)
        net[0].bias.zero_()
    artifact = quantize(
        net, calibration=[image + 100 for image in noise(16, high=128)], preprocess=preprocess,
        config=QuantizationConfig(observer="min_max", equalization=False),
    )
    engine = load_engine(artifact.payload, "fbgemm", LoadOptions((16, 16)))
    observed = observe(engine, np.stack([np.zeros((16, 16, 3), np.uint8), np.full((16, 16, 3), 128, np.uint8)]), levels=256)
    assert observed.names[:2] == ("quantize_per_tensor_0", "0")
    assert observed.ranges[0][0] < 0 == observed.ranges[1][0]
    assert observed.saturated[:, 0].tolist() == [1.0, 0.0]  # black is darker than any calibration pixel
    assert observed.saturated[:, 1].tolist() == [0.0, 0.0]  # its ReLU gives zero everywhere


def test_without_levels_nothing_is_watched() -> None:
    artifact = _artifact(SmallNet(), recipe="dynamic")
    observed = observe(load_engine(artifact.payload, "fbgemm", LoadOptions((16, 16))), np.stack(noise(3)), levels=None)
    assert observed.names == () and observed.saturated.shape == (3, 0) and observed.outputs.shape == (3, 4)
