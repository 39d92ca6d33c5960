"""What a user can set, as frozen dataclasses that check themselves.

Units are in the names; a wrong value raises `sparkq.errors.ConfigError` when the object is made, on the driver, before
any work starts. `sparkq.config_parsing` makes them from YAML mappings and refuses unknown keys.
"""
from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from sparkq.config_parsing import path_field
from sparkq.errors import ConfigError

__all__ = [
    "DEFAULT_MAX_IMAGE_PIXELS",
    "ENGINES",
    "INPUT_FORMATS",
    "CalibrationConfig",
    "InferenceConfig",
    "PreprocessConfig",
    "QuantizationConfig",
    "ResizeConfig",
    "check_choice",
]

DEFAULT_MAX_IMAGE_PIXELS = 178_956_970
"""Where Pillow, too, stops believing that an image is honest: 1 GB of 24-bit RGB over 2 (``2 * Image.MAX_IMAGE_PIXELS``)."""

RESIZE_MODES = ("shorter_side", "squash")
INTERPOLATIONS = ("bilinear", "bicubic")
CHANNEL_ORDERS = ("RGB", "BGR")
RECIPES = ("static", "mixed", "dynamic", "none")
OBSERVERS = ("histogram", "min_max", "percentile", "mse", "entropy", "auto")
TARGETS = ("vnni", "avx2")
WEIGHT_SCALES = ("mse", "max")
ROUNDINGS = ("least_squares", "nearest")
ENGINES = ("fbgemm", "float32")
INPUT_FORMATS = ("auto", "images", "parquet")


def check_choice(place: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise `ConfigError` unless `value` is one of `choices`; `place` is its key."""
    if value not in choices:
        raise ConfigError(f"{place}: expected one of {', '.join(choices)}; got {value!r}.")


def _check_positive(place: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{place}: expected a whole number of at least 1; got {value!r}.")


def _pair(place: str, value: Any) -> tuple[int, int]:
    """(height, width) of an int or of a pair."""
    pair = tuple(value) if isinstance(value, (list, tuple)) else (value, value)
    if len(pair) != 2:
        raise ConfigError(f"{place}: expected one number or (height, width); got {value!r}.")
    for number in pair:
        _check_positive(place, number)
    return pair[0], pair[1]


def _number(place: str, value: Any) -> float:
    """A float of a number or of a fraction such as ``1/127.5``, which YAML cannot write otherwise."""
    try:
        if isinstance(value, str):
            numerator, _, denominator = value.partition("/")
            number = float(numerator) / float(denominator or 1)
        else:
            number = float(value)
    except (TypeError, ValueError, OverflowError, ZeroDivisionError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number):
        raise ConfigError(f"{place}: expected a finite number or a fraction such as 1/255; got {value!r}.")
    return number


def _per_channel(place: str, value: Any) -> tuple[float, float, float]:
    numbers = tuple(_number(place, item) for item in (value if isinstance(value, (list, tuple)) else [value] * 3))
    if len(numbers) != 3:
        raise ConfigError(f"{place}: expected one number or three, one a channel; got {len(numbers)} numbers.")
    return numbers[0], numbers[1], numbers[2]


@dataclass(frozen=True)
class ResizeConfig:
    """How an image of any size comes to the size that `PreprocessConfig.crop` cuts from.

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
            object.__setattr__(self, "size", _pair("preprocess.resize.size", self.size))
        else:
            _check_positive("preprocess.resize.size", self.size)


@dataclass(frozen=True)
class PreprocessConfig:
    """From a decoded image to the model's input.

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
        object.__setattr__(self, "rescale", _number("preprocess.rescale", self.rescale))
        object.__setattr__(self, "mean", _per_channel("preprocess.mean", self.mean))
        object.__setattr__(self, "std", _per_channel("preprocess.std", self.std))
        if 0.0 in self.channel_std:
            raise ConfigError(f"preprocess.std: expected numbers other than 0; got {self.std!r}.")
        if self.crop is not None:
            object.__setattr__(self, "crop", _pair("preprocess.crop", self.crop))
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
        return _per_channel("preprocess.mean", self.mean)

    @property
    def channel_std(self) -> tuple[float, float, float]:
        """`std`, one number a channel, in `channel_order`."""
        return _per_channel("preprocess.std", self.std)


@dataclass(frozen=True)
class QuantizationConfig:
    """How a float model becomes INT8.

    Parameters
    ----------
    recipe : str
        ``static``: calibrated activations and per-channel weights in INT8. ``mixed``: the same, but the layers that cost
        most accuracy stay in float. ``dynamic``: activation ranges a single image, at run time; slower. ``none``: the
        float model as it is, in the same file format, for comparison.
    observer : str
        What finds the range of an activation: ``histogram`` (least modelled error), ``mse`` (least counted error),
        ``min_max``, ``percentile`` (99.99), ``entropy`` (KL divergence), or ``auto``: whichever gives the calibration
        images the outputs closest to the float model's.
    target : str
        ``vnni``: activations use all 8 bits. ``avx2``: 7 bits, for CPUs without VNNI (first-generation C5), whose 16-bit
        sums would saturate.
    clamp_ranges : bool
        Take ReLU6 and its like as the output range of the layer before.
    equalization : bool
        Balance channels between layers (Nagel et al. 2019).
    high_bias_absorption : bool
        Move what a channel never falls below into the next layer's bias (Nagel et al. 2019).
    weight_scales : str
        ``mse``: least squared error a channel; ``max``: the largest weight.
    rounding : str
        ``least_squares``: each layer's weights fitted to the float model's outputs (GPTQ); ``nearest``.
    bias_correction : bool
        Take each channel's mean error on the calibration images out of its bias.
    float_pooling : bool
        Average over whole planes in float: their means on the range of what they average would lose most of their bits.
    float_output : bool
        The last linear layer's sums are not rounded to 8 bits.
    limit_depthwise_weights : bool
        Keep the weights of depthwise convolutions small enough for fbgemm's 16-bit sums, where `target` is ``vnni``.
    float_slow_layers : bool
        Keep depthwise convolutions in float for which fbgemm has no fast INT8 kernel.
    float_layers : tuple of str
        Names of layers that stay in float.
    minimum_sqnr_db : float
        What ``mixed`` reaches, with as many multiply-accumulates in INT8 as possible: the signal-to-noise ratio of the
        outputs on calibration images.
    batch_size : int
        Images a forward pass while calibrating.
    """

    recipe: str = "static"
    observer: str = "histogram"
    target: str = "vnni"
    clamp_ranges: bool = True
    equalization: bool = True
    high_bias_absorption: bool = False
    weight_scales: str = "mse"
    rounding: str = "least_squares"
    bias_correction: bool = True
    float_pooling: bool = True
    float_output: bool = True
    limit_depthwise_weights: bool = True
    float_slow_layers: bool = True
    float_layers: tuple[str, ...] = ()
    minimum_sqnr_db: float = 25.0
    batch_size: int = 16

    def __post_init__(self) -> None:
        check_choice("quantization.recipe", self.recipe, RECIPES)
        check_choice("quantization.observer", self.observer, OBSERVERS)
        check_choice("quantization.target", self.target, TARGETS)
        check_choice("quantization.weight_scales", self.weight_scales, WEIGHT_SCALES)
        check_choice("quantization.rounding", self.rounding, ROUNDINGS)
        if not all(isinstance(name, str) for name in self.float_layers):
            raise ConfigError(f"quantization.float_layers: expected names of layers; got {self.float_layers!r}.")
        object.__setattr__(self, "float_layers", tuple(self.float_layers))
        object.__setattr__(self, "minimum_sqnr_db", _number("quantization.minimum_sqnr_db", self.minimum_sqnr_db))
        _check_positive("quantization.batch_size", self.batch_size)


@dataclass(frozen=True)
class CalibrationConfig:
    """The images that activation ranges are measured on.

    Parameters
    ----------
    input : str
        Directory of images (searched recursively) or Parquet with a binary column.
    images : int
        At most so many, chosen by a hash of their path: the same ones every time.
    glob : str, optional
        Only files whose name matches, e.g. ``*.jpg``.
    """

    input: str = path_field()
    images: int = 200
    glob: str | None = None

    def __post_init__(self) -> None:
        _check_positive("calibration.images", self.images)


@dataclass(frozen=True)
class InferenceConfig:
    """How an artifact is run over an image DataFrame.

    Parameters
    ----------
    engine : str, optional
        What runs the payload: ``fbgemm`` for INT8 artifacts, ``float32`` for float ones. Default: the one that fits.
    batch_size : int
        Images a forward pass.
    top_k : int
        Length of the ``top_k`` column; at most the number of classes.
    max_image_pixels : int
        An image with more pixels than this is an error row (``image_too_large``) and is never decoded.
    content_column : str, optional
        The column with encoded images (binary) or Spark's image struct. Default: ``content``, or the only one that fits.
    """

    engine: str | None = None
    batch_size: int = 16
    top_k: int = 5
    max_image_pixels: int = DEFAULT_MAX_IMAGE_PIXELS
    content_column: str | None = None

    def __post_init__(self) -> None:
        if self.engine is not None:
            check_choice("engine", self.engine, ENGINES)
        _check_positive("batch_size", self.batch_size)
        _check_positive("top_k", self.top_k)
        _check_positive("max_image_pixels", self.max_image_pixels)
