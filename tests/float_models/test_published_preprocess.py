"""How a named architecture takes its images, against the transforms of the library that it comes from."""
from __future__ import annotations

import dataclasses
import functools
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from sparkq.config import PreprocessConfig, PreprocessOverrides, ResizeConfig
from sparkq.config.parsing import parse_config
from sparkq.config.preprocess import PREPROCESS_FIELDS, preprocess_fields, preprocess_of_fields
from sparkq.errors import ConfigError
from sparkq.float_models.load import load_float_model
from sparkq.float_models.published_preprocess import resolved_preprocess
from sparkq.images.preprocess import preprocess_array
from tests.pictures import texture


def _model(spec: str) -> nn.Module:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*no weights given")
        return load_float_model(spec)


_model_once = functools.cache(_model)


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
    found = resolved_preprocess(model).config
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
    found = resolved_preprocess(model).config
    assert (found.resize.mode, found.resize.size, found.input_size) == ("squash", (24, 32), (24, 32))
    assert (found.interpolation, found.channel_mean) == ("bicubic", (0.5, 0.5, 0.5))


@pytest.mark.parametrize("changed", [{"crop_mode": "border"}, {"input_size": (3, 24, 32)}, {"interpolation": "random"}])
def test_what_cannot_be_said(changed: dict[str, Any]) -> None:
    model = nn.Identity()
    model.pretrained_cfg = {  # type: ignore[assignment]
        "input_size": (3, 32, 32), "crop_pct": 0.9, "crop_mode": "center", "interpolation": "bicubic", "mean": (0.5,) * 3,
        "std": (0.5,) * 3, **changed,
    }
    with pytest.raises(ConfigError, match="crop_mode center of a square.*under preprocess yourself: --preprocess-"):
        resolved_preprocess(model).config


def test_a_model_that_says_nothing() -> None:
    """Each option to give is named, and nothing is guessed: zeros would give answers, wrong ones."""
    with pytest.raises(ConfigError, match="crop, mean, std of the input of Conv2d; got none.*--preprocess-crop") as caught:
        resolved_preprocess(nn.Conv2d(3, 4, 3))
    assert "--preprocess-mean, --preprocess-std" in str(caught.value)


IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


@pytest.mark.parametrize(("spec", "crop"), [("torchvision:squeezenet1_1", 224), ("timm:lcnet_050", 224)])
def test_single_settings_leave_the_published_rest(spec: str, crop: int) -> None:
    """The case that gave 33 % with INT8 and float alike: two sizes replaced mean and std by 0 and 1."""
    model = _model(spec)
    published = resolved_preprocess(model)
    found = resolved_preprocess(model, {"resize": {"size": 64}, "crop": 64})
    assert published.config.input_size == (crop, crop)
    assert set(published.origin.values()) == {"published"}
    assert found.config == dataclasses.replace(published.config, resize=ResizeConfig("shorter_side", 64), crop=(64, 64))
    assert (found.config.channel_mean, found.config.channel_std) == (IMAGENET["mean"], IMAGENET["std"])
    given = {"resize.size", "crop"}
    assert found.origin == {name: "given" if name in given else "published" for name in PREPROCESS_FIELDS}


@settings(max_examples=60, deadline=None)
@given(overrides=st.fixed_dictionaries({}, optional={
    "crop": st.integers(1, 224), "interpolation": st.sampled_from(["bilinear", "bicubic"]), "mean": st.floats(0, 1),
    "channel_order": st.sampled_from(["RGB", "BGR"]), "std": st.floats(0.1, 1), "rescale": st.sampled_from([1, "1/127.5"]),
    "resize": st.fixed_dictionaries({}, optional={
        "mode": st.sampled_from(["shorter_side", "squash"]), "size": st.integers(224, 300),
    }),
}))
@pytest.mark.parametrize("from_file", [False, True], ids=["mapping", "config_key"])
def test_every_setting_by_itself(from_file: bool, overrides: dict[str, Any]) -> None:
    """Whatever is given, and however: that is as given, all else as published."""
    model = _model_once("torchvision:squeezenet1_1")
    as_given: Any = parse_config(PreprocessOverrides, overrides, place="preprocess") if from_file else overrides
    found = resolved_preprocess(model, as_given)
    published = preprocess_fields(resolved_preprocess(model).config)
    wanted = {f"resize.{name}": value for name, value in overrides.get("resize", {}).items()}
    wanted |= {name: value for name, value in overrides.items() if name != "resize"}
    assert found.config == preprocess_of_fields({**published, **wanted})
    assert {name for name, origin in found.origin.items() if origin == "given"} == set(wanted)


def test_a_local_model() -> None:
    """What has a documented default is the default's, what has none must be given."""
    model = nn.Conv2d(3, 4, 3)
    found = resolved_preprocess(model, {"crop": 224, "mean": 0, "std": 1})
    assert found.config == PreprocessConfig(crop=224)
    assert {name for name, origin in found.origin.items() if origin == "default"} == {
        "resize.mode", "resize.size", "interpolation", "channel_order", "rescale",
    }
    with pytest.raises(ConfigError, match="expected std of the input of Conv2d.*give --preprocess-std"):
        resolved_preprocess(model, {"resize": {"mode": "squash", "size": 32}, "mean": 0.5})


def test_all_of_it_given() -> None:
    """A `PreprocessConfig` replaces everything, and counts as given."""
    found = resolved_preprocess(_model_once("torchvision:squeezenet1_1"), PreprocessConfig(crop=64))
    assert (found.config, set(found.origin.values())) == (PreprocessConfig(crop=64), {"given"})


def test_units_of_the_published_mean(caplog: pytest.LogCaptureFixture) -> None:
    """Pixels from 0 to 255 less a mean for pixels from 0 to 1 is nearly never meant."""
    model = _model_once("torchvision:squeezenet1_1")
    resolved_preprocess(model, {"rescale": 1, "channel_order": "BGR"})
    assert [word for word in ("rescale", "channel_order") if f"preprocess: {word} is given as" in caplog.text]
    assert "give --preprocess-mean and --preprocess-std as well" in caplog.text
    caplog.clear()
    resolved_preprocess(model, {"rescale": 1, "mean": [123.7, 116.3, 103.5], "std": [58.4, 57.1, 57.4]})
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize(("given_", "words"), [
    ({"resize": {"size": 64}}, "at most the resized image, 64 x 64; got 224 x 224.*preprocess.crop"),
    ({"crop": "wide"}, "preprocess: crop: expected a whole number"),
    ({"men": 0.5}, "unknown key 'men'.*did you mean 'mean'"),
    ({"interpolation": "nearest"}, "preprocess.interpolation: expected one of bilinear, bicubic"),
])
def test_settings_that_cannot_be(given_: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        resolved_preprocess(_model_once("torchvision:squeezenet1_1"), given_)


def test_normalization_of_a_geometry_that_cannot_be_said() -> None:
    """Who gives the geometry still gets the published mean and std."""
    model = nn.Identity()
    model.pretrained_cfg = {  # type: ignore[assignment]
        "input_size": (3, 24, 32), "crop_pct": 1.0, "crop_mode": "border", "interpolation": "bicubic", "mean": (0.1, 0.2, 0.3),
        "std": (0.5,) * 3,
    }
    found = resolved_preprocess(model, {"resize": {"mode": "squash", "size": [24, 32]}})
    assert (found.config.channel_mean, found.config.input_size) == ((0.1, 0.2, 0.3), (24, 32))
