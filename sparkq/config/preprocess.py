"""Settings of preprocessing, from a decoded image to the model's input: sizes, filter and normalization."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from sparkq.config.checks import check_choice, check_positive, number, pair, per_channel
from sparkq.errors import ConfigError

__all__ = [
    "PREPROCESS_FIELDS", "PREPROCESS_ORIGINS", "PreprocessConfig", "PreprocessOverrides", "ResizeConfig", "ResizeOverrides",
    "preprocess_fields", "preprocess_of_fields",
]

RESIZE_MODES = ("shorter_side", "squash")
INTERPOLATIONS = ("bilinear", "bicubic")
CHANNEL_ORDERS = ("RGB", "BGR")
_ANY_SIZE = 2**30
PREPROCESS_FIELDS = ("resize.mode", "resize.size", "crop", "interpolation", "channel_order", "rescale", "mean", "std")
"""Each single setting of a `PreprocessConfig`, by its key in a config file."""
PREPROCESS_ORIGINS = ("published", "given", "default")
"""Where a setting may come from: the architecture's authors, the user, or this package."""


@dataclass(frozen=True)
class ResizeConfig:
    """Settings of the resize that brings an image of any size to the size that `PreprocessConfig.crop` cuts from.

    Parameters
    ----------
    mode : str
        ``shorter_side``: the shorter side becomes `size` pixels and the aspect ratio is kept, as torchvision's
        ``Resize(int)``. ``squash``: the image becomes exactly `size`, as ``Resize((height, width))``.
    size : int or (int, int)
        Pixels; (height, width) only with ``squash``.
    """

    mode: str = "shorter_side"
    size: int | tuple[int, int] = 256

    def __post_init__(self) -> None:
        check_choice("preprocess.resize.mode", self.mode, RESIZE_MODES)
        if self.mode == "squash":
            object.__setattr__(self, "size", pair("preprocess.resize.size", self.size))
        else:
            check_positive("preprocess.resize.size", self.size)


@dataclass(frozen=True)
class PreprocessConfig:
    """Settings of preprocessing, from a decoded image to the model's input.

    Geometry (resize, crop) happens on 8-bit pixels with Pillow; the arithmetic,
    ``(pixel * rescale - mean) / std`` a channel, is part of the model's graph.

    Parameters
    ----------
    resize : ResizeConfig
        First step.
    crop : int or (int, int), optional
        Centre crop, (height, width) in pixels; needed with ``shorter_side``.
    interpolation : str
        ``bilinear`` or ``bicubic``, both with Pillow's antialiasing.
    channel_order : str
        ``RGB`` or ``BGR``: the order in which the model takes its channels, and in which `mean` and `std` are given.
    rescale : float or str
        Factor on the pixel values 0 to 255; a fraction such as ``1/127.5`` is understood.
    mean : float or (float, float, float)
        Subtracted after rescaling, in channel order.
    std : float or (float, float, float)
        Divided by at the end, in channel order.
    """

    resize: ResizeConfig = field(default_factory=ResizeConfig)
    crop: int | tuple[int, int] | None = None
    interpolation: str = "bilinear"
    channel_order: str = "RGB"
    rescale: float | str = 1 / 255
    mean: float | tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: float | tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        check_choice("preprocess.interpolation", self.interpolation, INTERPOLATIONS)
        check_choice("preprocess.channel_order", self.channel_order, CHANNEL_ORDERS)
        if not isinstance(self.resize, ResizeConfig):
            raise ConfigError(f"preprocess.resize: expected a ResizeConfig; got {self.resize!r}.")
        object.__setattr__(self, "rescale", number("preprocess.rescale", self.rescale))
        object.__setattr__(self, "mean", per_channel("preprocess.mean", self.mean))
        object.__setattr__(self, "std", per_channel("preprocess.std", self.std))
        if 0.0 in self.channel_std:
            raise ConfigError(f"preprocess.std: expected numbers other than 0; got {self.std!r}.")
        if self.crop is not None:
            object.__setattr__(self, "crop", pair("preprocess.crop", self.crop))
        elif self.resize.mode == "shorter_side":
            raise ConfigError(
                "preprocess.crop: expected a size, because resize.mode shorter_side leaves the longer side open; got none.",
                hint="set crop (ImageNet models: resize 256, crop 224), or resize.mode squash.",
            )
        self._check_crop_fits()

    def _check_crop_fits(self) -> None:
        size = self.resize.size
        height, width = size if isinstance(size, tuple) else (size, size)
        if self.input_size[0] > height or self.input_size[1] > width:
            raise ConfigError(
                f"preprocess.crop: expected at most the resized image, {height} x {width}; got "
                f"{self.input_size[0]} x {self.input_size[1]}.",
                hint="set preprocess.crop as well as preprocess.resize.size.",
            )

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the model's input in pixels."""
        size = self.crop if self.crop is not None else self.resize.size
        return size if isinstance(size, tuple) else (size, size)

    @property
    def channel_mean(self) -> tuple[float, float, float]:
        """`mean`, one number a channel, in `channel_order`."""
        return per_channel("preprocess.mean", self.mean)

    @property
    def channel_std(self) -> tuple[float, float, float]:
        """`std`, one number a channel, in `channel_order`."""
        return per_channel("preprocess.std", self.std)


@dataclass(frozen=True)
class ResizeOverrides:
    """Settings of the resize that replace published or default ones.

    Parameters
    ----------
    mode : str, optional
        shorter_side: the shorter side becomes size pixels and the aspect ratio is kept; squash: the image becomes exactly size.
        Default: as published, else shorter_side.
    size : int or (int, int), optional
        Pixels; (height, width) only with squash. Default: as published, else 256.
    """

    mode: str | None = None
    size: int | tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.mode is not None:
            check_choice("preprocess.resize.mode", self.mode, RESIZE_MODES)
        if self.size is not None:
            pair("preprocess.resize.size", self.size)


@dataclass(frozen=True)
class PreprocessOverrides:
    """Single settings of preprocessing; each replaces the published or default one, and the others stay.

    Parameters
    ----------
    resize : ResizeOverrides
        First step.
    crop : int or (int, int), optional
        Centre crop, (height, width) in pixels. Default: as published; of other models with shorter_side there is none.
    interpolation : str, optional
        bilinear or bicubic, both with Pillow's antialiasing. Default: as published, else bilinear.
    channel_order : str, optional
        RGB or BGR: the order in which the model takes its channels, and in which mean and std are given. Default: RGB.
    rescale : float or str, optional
        Factor on the pixel values 0 to 255; a fraction such as 1/127.5 is understood. Default: 1/255.
    mean : float or (float, float, float), optional
        Subtracted after rescaling, in channel order. Default: as published; of other models there is none.
    std : float or (float, float, float), optional
        Divided by at the end, in channel order. Default: as published; of other models there is none.
    """

    resize: ResizeOverrides = ResizeOverrides()
    crop: int | tuple[int, int] | None = None
    interpolation: str | None = None
    channel_order: str | None = None
    rescale: float | str | None = None
    mean: float | tuple[float, float, float] | None = None
    std: float | tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        # What is wrong by itself is told before a model is loaded; PreprocessConfig checks how the settings fit together.
        given = {name: value for name, value in preprocess_fields(self).items() if value is not None}
        preprocess_of_fields({**given, "resize.mode": "squash", "resize.size": _ANY_SIZE})


def preprocess_fields(config: PreprocessConfig | PreprocessOverrides) -> dict[str, Any]:
    """Return each single setting by its name in `PREPROCESS_FIELDS`; None is one that is not there."""
    values = {entry.name: getattr(config, entry.name) for entry in fields(config)}
    resize = values.pop("resize")
    return {"resize.mode": resize.mode, "resize.size": resize.size, **values}


def preprocess_of_fields(values: Mapping[str, Any]) -> PreprocessConfig:
    """Make the settings of what `preprocess_fields` gives; what is not named has its default."""
    resize = ResizeConfig(**{name: values[f"resize.{name}"] for name in ("mode", "size") if f"resize.{name}" in values})
    return PreprocessConfig(resize=resize, **{name: value for name, value in values.items() if not name.startswith("resize.")})
