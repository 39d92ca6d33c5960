"""The preprocessing of a float model, setting by setting: given, published with its architecture, or the default."""
from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sparkq.config.parsing import parse_config
from sparkq.config.preprocess import (
    INTERPOLATIONS,
    PREPROCESS_FIELDS,
    PreprocessConfig,
    PreprocessOverrides,
    preprocess_fields,
    preprocess_of_fields,
)
from sparkq.errors import ConfigError
from sparkq.redaction import get_logger

if TYPE_CHECKING:
    from torch import nn

__all__ = ["PUBLISHED", "GivenPreprocess", "ResolvedPreprocess", "resolved_preprocess"]

_logger = get_logger(__name__)

PUBLISHED = "pretrained_cfg"
"""Attribute of a model with timm's description of its input; `sparkq.float_models.load` gives models of torchvision one, too."""

GivenPreprocess = PreprocessConfig | PreprocessOverrides | Mapping[str, Any] | None
"""The forms in which a user may give preprocessing: all of it, single settings, or those as a config file has them."""

_DEFAULTS = {
    "resize.mode": "shorter_side", "resize.size": 256, "interpolation": "bilinear", "channel_order": "RGB", "rescale": 1 / 255,
}


@dataclass(frozen=True)
class ResolvedPreprocess:
    """Settings of preprocessing, and where each comes from.

    Parameters
    ----------
    config : PreprocessConfig
        All of them.
    origin : dict of str to str
        ``published``, ``given`` or ``default``, by the names in `sparkq.config.preprocess.PREPROCESS_FIELDS`.
    """

    config: PreprocessConfig
    origin: dict[str, str]


def resolved_preprocess(
    model: nn.Module, given: GivenPreprocess = None, *, unpublished: PreprocessConfig | None = None,
) -> ResolvedPreprocess:
    """Find each setting of a model's preprocessing: the given one, else the published one, else the default. On the driver.

    It is logged: weights of the user's own may have been trained otherwise.

    Parameters
    ----------
    model : nn.Module
        With timm's ``pretrained_cfg``: input_size, crop_pct, crop_mode, interpolation, mean and std, which
        ``timm.data.create_transform`` turns into the same steps. Of a model without it nothing is published.
    given : PreprocessConfig, PreprocessOverrides or mapping, optional
        A `PreprocessConfig` is all of it. A mapping has the keys of ``preprocess`` in a config file, e.g.
        ``{"resize": {"size": 64}, "crop": 64}``.
    unpublished : PreprocessConfig, optional
        The defaults of a model of which nothing is published; without it mean, std and crop have none.

    Raises
    ------
    ConfigError
        If a setting is neither given nor published and has no default (mean, std, and crop with ``shorter_side``), if the model
        was published with what `PreprocessConfig` cannot say, or if the settings do not fit together.
    """
    if isinstance(given, PreprocessConfig):
        return ResolvedPreprocess(given, dict.fromkeys(PREPROCESS_FIELDS, "given"))
    if not isinstance(given, PreprocessOverrides):
        given = parse_config(PreprocessOverrides, {} if given is None else given, place="preprocess")
    name = type(model).__name__
    chosen = {key: value for key, value in preprocess_fields(given).items() if value is not None}
    published, unsaid = _published(model)
    defaults = _DEFAULTS if unpublished is None else preprocess_fields(unpublished)
    values = {**({} if published else defaults), **published, **chosen}
    _require_all(name, values, unsaid)
    if values["resize.mode"] == "shorter_side":
        values["resize.size"] = _one_side(values["resize.size"])
    config = preprocess_of_fields(values)
    origin = {
        key: "given" if key in chosen else "published" if key in published else "default" for key in PREPROCESS_FIELDS
    }
    _tell(name, config, origin)
    return ResolvedPreprocess(config, origin)


def _published(model: nn.Module) -> tuple[dict[str, Any], str | None]:
    """Settings by name, and in words what the architecture was published with that cannot be one."""
    published = getattr(model, PUBLISHED, None)
    if not isinstance(published, Mapping):
        return {}, None
    _, height, width = published["input_size"]
    mode, share = published.get("crop_mode", "center"), published.get("crop_pct", 1.0)
    interpolation = published["interpolation"]
    # Both libraries make RGB tensors from 0 to 1 of 8-bit pixels before they normalize.
    found: dict[str, Any] = {
        "channel_order": "RGB", "rescale": 1 / 255, "mean": tuple(published["mean"]), "std": tuple(published["std"]),
    }
    if interpolation in INTERPOLATIONS:
        found["interpolation"] = interpolation
    # timm.data.transforms_factory.transforms_imagenet_eval: the crop's size over its share, rounded down.
    size = published.get("resize_size") or (math.floor(height / share), math.floor(width / share))
    if mode == "squash":
        crop = None if tuple(size) == (height, width) else (height, width)
        found |= {"resize.mode": "squash", "resize.size": tuple(size), "crop": crop}
    elif mode == "center" and height == width:
        found |= {"resize.mode": "shorter_side", "resize.size": size[0], "crop": (height, width)}
    return found, f"crop_mode {mode}, {height} x {width}, {interpolation}"


def _require_all(name: str, values: Mapping[str, Any], unsaid: str | None) -> None:
    """Refuse to guess: a model that gets other pixels than it was trained on answers all the same."""
    missing = [key for key in PREPROCESS_FIELDS if key not in values]
    if values.get("resize.mode") == "squash" and "crop" in missing:
        missing.remove("crop")
    # PreprocessConfig tells of a crop alone what it is for.
    if not missing or unsaid is None and missing == ["crop"]:
        return
    options = ", ".join(f"--preprocess-{key.replace('.', '-').replace('_', '-')}" for key in missing)
    if unsaid is not None:
        raise ConfigError(
            f"preprocess: expected a published crop_mode center of a square, or squash, bilinear or bicubic; got {unsaid}.",
            hint=f"set {', '.join(missing)} under preprocess yourself: {options}.",
        )
    plain = {"mean", "std"} & set(missing)
    raise ConfigError(
        f"preprocess: expected {', '.join(missing)} of the input of {name}; got none, and only models of timm and torchvision "
        "say it themselves.",
        hint=f"give {options} (in a file and in Python: preprocess), as the model was trained with."
        f"{' Mean 0 and std 1 leave the rescaled pixels as they are.' if plain else ''}",
    )


def _one_side(size: Any) -> Any:
    """The side of a published square, for who changes only the mode."""
    return size[0] if isinstance(size, (tuple, list)) and len(set(size)) == 1 else size


def _tell(name: str, config: PreprocessConfig, origin: Mapping[str, str]) -> None:
    settings = (f"{key} {value} ({origin[key]})" for key, value in preprocess_fields(config).items())
    _logger.info("preprocess of %s: %s", name, ", ".join(settings))
    kept = [key for key in ("mean", "std") if origin[key] == "published"]
    for key, usual, meaning in (("rescale", 1 / 255, "pixels from 0 to 1"), ("channel_order", "RGB", "the order RGB")):
        if kept and getattr(config, key) != usual:
            _logger.warning(
                "preprocess: %s is given as %s, while %s stays as published, for %s. Hint: give --preprocess-%s as well.",
                key, getattr(config, key), " and ".join(kept), meaning, " and --preprocess-".join(kept),
            )
