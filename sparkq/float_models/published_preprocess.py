"""The preprocessing that a named architecture was published with."""
from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sparkq.config import PreprocessConfig, ResizeConfig
from sparkq.config.parsing import to_mapping
from sparkq.errors import ConfigError
from sparkq.redaction import get_logger

if TYPE_CHECKING:
    from torch import nn

__all__ = ["PUBLISHED", "published_preprocess"]

_logger = get_logger(__name__)

PUBLISHED = "pretrained_cfg"
"""Attribute of a model with timm's description of its input; `sparkq.float_models.load` gives models of torchvision one, too."""


def published_preprocess(model: nn.Module) -> PreprocessConfig:
    """From an image to the input of a timm or torchvision model, as evaluation there does it. On the driver.

    It is logged: weights of the user's own may have been trained otherwise.

    Parameters
    ----------
    model : nn.Module
        With timm's ``pretrained_cfg``: input_size, crop_pct, crop_mode, interpolation, mean and std, which
        ``timm.data.create_transform`` turns into the same steps.

    Raises
    ------
    ConfigError
        If the model says nothing of its input, or asks for what `PreprocessConfig` cannot say.
    """
    published = getattr(model, PUBLISHED, None)
    if not isinstance(published, Mapping):
        raise ConfigError(
            f"preprocess: expected how images come to the input of {type(model).__name__}; got nothing, and only models of timm "
            "and torchvision say it themselves.",
            hint="set preprocess: resize, crop, mean and std, as the model was trained with.",
        )
    found = _parsed(published)
    _logger.info(
        "preprocess: as %s was published (%s); set it where the weights were trained otherwise",
        published.get("architecture", type(model).__name__),
        ", ".join(f"{key} {value}" for key, value in to_mapping(found).items()),
    )
    return found


def _parsed(published: Mapping[str, Any]) -> PreprocessConfig:
    _, height, width = published["input_size"]
    mode, share = published.get("crop_mode", "center"), published.get("crop_pct", 1.0)
    interpolation = published["interpolation"]
    if mode not in ("center", "squash") or (mode == "center" and height != width) or interpolation == "random":
        raise ConfigError(
            f"preprocess: expected a published crop_mode center of a square, or squash; got {mode}, {height} x {width}, "
            f"{interpolation}.",
            hint="set preprocess yourself.",
        )
    # timm.data.transforms_factory.transforms_imagenet_eval: the crop's size over its share, rounded down.
    size = published.get("resize_size") or (math.floor(height / share), math.floor(width / share))
    resize = ResizeConfig("squash", size) if mode == "squash" else ResizeConfig("shorter_side", size[0])
    crop = None if resize.size == (height, width) else (height, width)
    return PreprocessConfig(
        resize=resize, crop=crop, interpolation=interpolation, mean=tuple(published["mean"]),
        std=tuple(published["std"]),
    )
