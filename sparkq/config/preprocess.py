"""Settings of preprocessing, from a decoded image to the model's input: sizes, filter and normalization."""
from __future__ import annotations

from dataclasses import dataclass, field

from sparkq.config.checks import check_choice, check_positive, number, pair, per_channel
from sparkq.errors import ConfigError

__all__ = ["PreprocessConfig", "ResizeConfig"]

RESIZE_MODES = ("shorter_side", "squash")
INTERPOLATIONS = ("bilinear", "bicubic")
CHANNEL_ORDERS = ("RGB", "BGR")


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
                f"{self.input_size[0]} x {self.input_size[1]}."
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
