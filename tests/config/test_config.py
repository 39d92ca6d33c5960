"""Config objects: right values are kept, wrong ones are one sentence at once."""
from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from sparkq.config import (
    DEFAULT_MAX_IMAGE_PIXELS,
    CalibrationConfig,
    InferenceConfig,
    PreprocessConfig,
    QuantizationConfig,
    ResizeConfig,
)
from sparkq.errors import ConfigError

SQUASH = ResizeConfig("squash", 64)


def preprocess(**values: Any) -> PreprocessConfig:
    """A valid config but for `values`."""
    return PreprocessConfig(**{"resize": SQUASH, **values})


WRONG: list[tuple[str, Callable[[], object], str]] = [
    ("resize mode", lambda: ResizeConfig("stretch", 64), "preprocess.resize.mode: expected one of shorter_side, squash"),
    ("resize mode of another type", lambda: ResizeConfig(["squash"], 64), "preprocess.resize.mode: expected one of"),
    ("resize size zero", lambda: ResizeConfig(size=0), "preprocess.resize.size: expected a whole number"),
    ("resize size negative", lambda: ResizeConfig("squash", (64, -1)), "preprocess.resize.size: expected a whole number"),
    ("resize size true", lambda: ResizeConfig(size=True), "preprocess.resize.size: expected a whole number"),
    ("resize size a fraction", lambda: ResizeConfig(size=2.5), "preprocess.resize.size: expected a whole"),
    ("resize size text", lambda: ResizeConfig(size="256"), "preprocess.resize.size: expected a whole"),
    ("resize pair with shorter_side", lambda: ResizeConfig(size=(256, 256)), "preprocess.resize.size: expected a whole"),
    ("resize three sizes", lambda: ResizeConfig("squash", (1, 2, 3)), "preprocess.resize.size: expected one number"),
    ("resize of another type", lambda: preprocess(resize={"mode": "squash"}), "preprocess.resize: expected a ResizeConfig"),
    ("crop missing", lambda: PreprocessConfig(), "preprocess.crop: expected a size"),
    ("crop zero", lambda: preprocess(crop=0), "preprocess.crop: expected a whole number"),
    ("crop text", lambda: preprocess(crop="32"), "preprocess.crop: expected a whole number"),
    ("crop three", lambda: preprocess(crop=(1, 2, 3)), "preprocess.crop: expected one number or"),
    ("crop larger than squash", lambda: preprocess(crop=65), "preprocess.crop: expected at most"),
    ("crop wider than squash", lambda: preprocess(crop=(64, 65)), "preprocess.crop: expected at most"),
    ("crop larger than shorter side", lambda: PreprocessConfig(crop=257), "preprocess.crop: expected at most"),
    ("interpolation", lambda: preprocess(interpolation="nearest"), "preprocess.interpolation: expected one of bilinear, bic"),
    ("channel order", lambda: preprocess(channel_order="rgb"), "preprocess.channel_order: expected one of RGB, BGR"),
    ("rescale text", lambda: preprocess(rescale="fast"), "preprocess.rescale: expected a finite number"),
    ("rescale by zero", lambda: preprocess(rescale="1/0"), "preprocess.rescale: expected a finite number"),
    ("rescale of two fractions", lambda: preprocess(rescale="1/2/3"), "preprocess.rescale: expected a finite number"),
    ("rescale nan", lambda: preprocess(rescale="nan"), "preprocess.rescale: expected a finite number"),
    ("rescale infinite", lambda: preprocess(rescale=float("inf")), "preprocess.rescale: expected a finite number"),
    ("rescale too large for a float", lambda: preprocess(rescale=10**400), "preprocess.rescale: expected a finite number"),
    ("rescale true", lambda: preprocess(rescale=True), "preprocess.rescale: expected a finite number"),
    ("rescale none", lambda: preprocess(rescale=None), "preprocess.rescale: expected a finite number"),
    ("mean of two", lambda: preprocess(mean=(1, 2)), "preprocess.mean: expected one number or three"),
    ("mean with text", lambda: preprocess(mean=(1, 2, "x")), "preprocess.mean: expected a finite number"),
    ("std of none", lambda: preprocess(std=()), "preprocess.std: expected one number or three"),
    ("std zero", lambda: preprocess(std=(1, 0, 1)), "preprocess.std: expected numbers other than 0"),
    ("recipe", lambda: QuantizationConfig(recipe="int4"), "quantization.recipe: expected one of static, mixed, dynamic, none"),
    ("observer", lambda: QuantizationConfig(observer="kl"), "quantization.observer: expected one of histogram, min_max"),
    ("target", lambda: QuantizationConfig(target="avx512"), "quantization.target: expected one of vnni, avx2"),
    ("weight scales", lambda: QuantizationConfig(weight_scales="min"), "quantization.weight_scales: expected one of mse, max"),
    ("rounding", lambda: QuantizationConfig(rounding="up"), "quantization.rounding: expected one of least_squares, nearest"),
    ("float layers", lambda: QuantizationConfig(float_layers=(1,)), "quantization.float_layers: expected names"),
    ("pruning of everything", lambda: QuantizationConfig(pruning=1), "quantization.pruning: expected a share from 0 to below 1"),
    ("pruning below nothing", lambda: QuantizationConfig(pruning=-0.1), "quantization.pruning: expected a share"),
    ("pruning a word", lambda: QuantizationConfig(pruning="half"), "quantization.pruning: expected a finite number"),
    ("one shared bit", lambda: QuantizationConfig(shared_weight_bits=1), "quantization.shared_weight_bits: expected a whole"),
    ("eight shared bits", lambda: QuantizationConfig(shared_weight_bits=8), "quantization.shared_weight_bits: expected a whole"),
    ("half a shared bit", lambda: QuantizationConfig(shared_weight_bits=4.5), "quantization.shared_weight_bits: expected a"),
    ("pruned float", lambda: QuantizationConfig(recipe="none", pruning=0.5), "quantization.recipe: expected an INT8 recipe"),
    ("calibration batch", lambda: QuantizationConfig(batch_size=0), "quantization.batch_size: expected a whole number"),
    ("calibration images", lambda: CalibrationConfig("d", images=0), "calibration.images: expected a whole number"),
    ("engine", lambda: InferenceConfig(engine="cuda"), "engine: expected one of fbgemm"),
    ("batch size", lambda: InferenceConfig(batch_size=-1), "batch_size: expected a whole number"),
    ("batch size text", lambda: InferenceConfig(batch_size="8"), "batch_size: expected a whole number"),
    ("top_k", lambda: InferenceConfig(top_k=0), "top_k: expected a whole number"),
    ("max_image_pixels", lambda: InferenceConfig(max_image_pixels=1.5e8), "max_image_pixels: expected a whole"),
]


@pytest.mark.parametrize(("make", "start"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_a_wrong_value_is_one_sentence(make: Callable[[], object], start: str) -> None:
    """It names the key, what was expected and what was found, in one line, before any work starts."""
    with pytest.raises(ConfigError) as caught:
        make()
    message = caught.value.message
    assert message.startswith(start)
    assert "; got " in message and message.endswith(".") and "\n" not in message


@pytest.mark.parametrize(("written", "number"), [
    ("1/127.5", 1 / 127.5), ("1/255", 1 / 255), (" 2 / 4 ", 0.5), ("0.25", 0.25), ("1e-3", 1e-3), (1, 1.0), (0.5, 0.5),
])
def test_a_fraction_is_understood(written: Any, number: float) -> None:
    """YAML has no fractions; 1/127.5 is exact where 0.00784 is not."""
    assert preprocess(rescale=written).rescale == number
    assert preprocess(mean=[written] * 3).mean == (number,) * 3


def test_one_number_stands_for_three_channels() -> None:
    """For mean and std alike."""
    config = preprocess(mean=1, std="1/2")
    assert config.channel_mean == (1.0, 1.0, 1.0)
    assert config.channel_std == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(("config", "size"), [
    (PreprocessConfig(crop=224), (224, 224)),
    (PreprocessConfig(crop=(200, 224)), (200, 224)),
    (PreprocessConfig(resize=SQUASH), (64, 64)),
    (PreprocessConfig(resize=ResizeConfig("squash", (48, 64))), (48, 64)),
    (PreprocessConfig(resize=ResizeConfig("squash", (48, 64)), crop=(48, 32)), (48, 32)),
    (PreprocessConfig(resize=ResizeConfig("shorter_side", 224), crop=224), (224, 224)),
])
def test_the_input_size_is_height_and_width(config: PreprocessConfig, size: tuple[int, int]) -> None:
    """Of the crop, or of the squashed image where nothing is cut."""
    assert config.input_size == size


def test_lists_become_tuples() -> None:
    """What YAML gives as lists is hashable and comparable afterwards."""
    config = preprocess(resize=ResizeConfig("squash", [48, 64]), mean=[1, 2, 3], crop=[32, 32])
    assert (config.resize.size, config.mean, config.crop) == ((48, 64), (1.0, 2.0, 3.0), (32, 32))
    assert hash(config) == hash(preprocess(resize=ResizeConfig("squash", (48, 64)), mean=(1, 2, 3), crop=32))


def test_the_defaults() -> None:
    """Rescale 1/255, RGB, static recipe, 178 million pixels."""
    config = preprocess()
    assert (config.rescale, config.channel_order, config.interpolation) == (1 / 255, "RGB", "bilinear")
    assert (config.channel_mean, config.channel_std) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    assert QuantizationConfig().recipe == "static"
    assert 178_000_000 <= InferenceConfig().max_image_pixels == DEFAULT_MAX_IMAGE_PIXELS < 179_000_000


@pytest.mark.parametrize("config", [preprocess(), SQUASH, QuantizationConfig(), CalibrationConfig("d"), InferenceConfig()])
def test_a_config_is_frozen(config: Any) -> None:
    """It was checked when it was made, so nothing may change it later."""
    name = dataclasses.fields(config)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(config, name, None)
