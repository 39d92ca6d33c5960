"""The float side that several artifacts share: each is the same to the bit as one made alone."""
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sparkq.config import QuantizationConfig
from sparkq.errors import ModelError
from sparkq.quantization import quantize
from sparkq.quantization.calibration.image_set import calibration_set
from sparkq.quantization.float_side import FloatSide
from sparkq.quantization.normalization import normalize
from sparkq.quantization.quantize import with_profile
from tests.models import REFERENCES, SMALL, SmallNet, noise, reference_files, reference_model

STATIC = QuantizationConfig(rounding="nearest")


@pytest.mark.parametrize("later", [
    replace(STATIC, observer="auto"), replace(STATIC, recipe="mixed", float_layers=("stages.0.0.conv1", "stages.2.1.conv2")),
    replace(STATIC, equalization=False), replace(STATIC, recipe="dynamic"), QuantizationConfig(recipe="none"),
], ids=["auto", "mixed", "unequalized", "dynamic", "none"])
def test_what_is_kept_changes_nothing(shared_data: Path, later: QuantizationConfig) -> None:
    """ResNet-20, after another recipe has computed the graph and counted values."""
    preprocess = REFERENCES["resnet20"].preprocess
    images = calibration_set(reference_files(shared_data, "resnet20", 24, step=50), preprocess)
    model = reference_model(shared_data, "resnet20")
    names = {name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}
    if later.float_layers:
        later = replace(later, float_layers=tuple(sorted(names)[3:5]))
    side = FloatSide(model, images, preprocess)
    quantize(model, calibration=images, preprocess=preprocess, config=STATIC, side=side)
    shared = quantize(model, calibration=images, preprocess=preprocess, config=later, side=side)
    alone = quantize(model, calibration=images, preprocess=preprocess, config=later)
    assert shared.payload == alone.payload and shared.manifest == alone.manifest


def test_a_profile_can_be_added() -> None:
    """It is the one that comes with an artifact."""
    images = calibration_set(noise(40), SMALL)
    whole = quantize(SmallNet(), calibration=images, preprocess=SMALL)
    later = quantize(SmallNet(), calibration=images, preprocess=SMALL, profiled=False)
    assert later.manifest.calibration_profile is None and whole.manifest.calibration_profile is not None
    torch.manual_seed(0)
    bare = quantize(model := SmallNet(), calibration=images, preprocess=SMALL, profiled=False)
    assert with_profile(bare, images).manifest == quantize(model, calibration=images, preprocess=SMALL).manifest


def test_outputs_are_those_of_the_model() -> None:
    images = calibration_set(noise(40), SMALL)
    model = SmallNet().eval()
    side = FloatSide(model, images, SMALL)
    assert side.outputs.shape == (32, 4) and side.outputs is side.outputs
    with torch.no_grad():
        expected = model(normalize(torch.from_numpy(images.images[:32]), SMALL))
    assert side.outputs.numpy() == pytest.approx(expected.numpy(), abs=1e-5)


class _Nothing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :4] / 0


@pytest.mark.parametrize("model", [_Nothing(), "resnet20"], ids=["not finite", "no module"])
def test_what_is_no_model(model: nn.Module) -> None:
    with pytest.raises(ModelError):
        FloatSide(model, calibration_set(noise(4), SMALL), SMALL).outputs  # noqa: B018
