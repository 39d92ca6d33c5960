"""How a named architecture takes its images, against the transforms of the library that it comes from."""
from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import nn

from sparkq.errors import ConfigError
from sparkq.float_models.load import load_float_model
from sparkq.float_models.published_preprocess import published_preprocess
from sparkq.images.preprocess import preprocess_array
from tests.pictures import texture


def _model(spec: str) -> nn.Module:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*no weights given")
        return load_float_model(spec)


def _theirs(model: nn.Module, spec: str) -> Any:
    if spec.startswith("timm:"):
        from timm.data import create_transform, resolve_model_data_config

        return create_transform(**resolve_model_data_config(model), is_training=False)
    import torchvision

    return torchvision.models.get_model_weights(spec.partition(":")[2]).DEFAULT.transforms()


@pytest.mark.parametrize("spec", ["timm:resnet18", "timm:mobilenetv3_small_050", "timm:lcnet_050", "torchvision:squeezenet1_1"])
def test_pixels_are_those_of_its_library(spec: str) -> None:
    """Before the arithmetic that is part of our graph; a level or two apart, because only what a crop shows is computed."""
    model = _model(spec)
    found = published_preprocess(model)
    pixels = texture(311, 420)
    ours = (preprocess_array(pixels, found) / 255 - found.channel_mean) / found.channel_std
    theirs = _theirs(model, spec)(Image.fromarray(pixels)).permute(1, 2, 0).numpy()
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= 2.5 / 255 / min(found.channel_std)


def test_squash() -> None:
    model = nn.Identity()
    model.pretrained_cfg = {  # type: ignore[assignment]
        "input_size": (3, 24, 32), "crop_pct": 1.0, "crop_mode": "squash", "interpolation": "bicubic", "mean": (0.5,) * 3,
        "std": (0.5,) * 3,
    }
    found = published_preprocess(model)
    assert (found.resize.mode, found.resize.size, found.input_size) == ("squash", (24, 32), (24, 32))
    assert (found.interpolation, found.channel_mean) == ("bicubic", (0.5, 0.5, 0.5))


@pytest.mark.parametrize("changed", [{"crop_mode": "border"}, {"input_size": (3, 24, 32)}, {"interpolation": "random"}])
def test_what_cannot_be_said(changed: dict[str, Any]) -> None:
    model = nn.Identity()
    model.pretrained_cfg = {  # type: ignore[assignment]
        "input_size": (3, 32, 32), "crop_pct": 0.9, "crop_mode": "center", "interpolation": "bicubic", "mean": (0.5,) * 3,
        "std": (0.5,) * 3, **changed,
    }
    with pytest.raises(ConfigError, match="set preprocess yourself"):
        published_preprocess(model)


def test_a_model_that_says_nothing() -> None:
    with pytest.raises(ConfigError, match="input of Conv2d; got nothing.*Hint: set preprocess"):
        published_preprocess(nn.Conv2d(3, 4, 3))
