"""Settings of quantization, and of the images that the ranges are measured on."""
from __future__ import annotations

from dataclasses import dataclass, replace

from sparkq.config.checks import check_choice, check_positive, number
from sparkq.config.parsing import path_field
from sparkq.errors import ConfigError

__all__ = ["CalibrationConfig", "QuantizationConfig"]

RECIPES = ("static", "mixed", "dynamic", "none")
OBSERVERS = ("histogram", "min_max", "percentile", "mse", "entropy", "auto")
TARGETS = ("vnni", "avx2")
WEIGHT_SCALES = ("mse", "max")
ROUNDINGS = ("least_squares", "nearest")
_EFFORTS: dict[str, dict[str, str]] = {
    "fast": {"rounding": "nearest", "observer": "histogram"}, "default": {},
    "best": {"rounding": "least_squares", "observer": "auto"},
}
EFFORTS = tuple(_EFFORTS)


@dataclass(frozen=True)
class QuantizationConfig:
    """Settings of quantization.

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
    fold_batch_norms : bool
        Fold a BatchNorm behind a ReLU into the layer that follows; one behind a convolution always goes into that.
    clamp_ranges : bool
        Take ReLU6 and its like as the output range of the layer before.
    equalization : bool
        Balance channels between layers (Nagel et al. 2019).
    high_bias_absorption : bool
        Move what a channel never falls below into the next layer's bias (Nagel et al. 2019).
    weight_scales : str
        ``mse``: least squared error a channel; ``max``: the largest weight. Counts where `rounding` is ``nearest``: least
        squares searches scales of its own.
    rounding : str
        ``least_squares``: each layer's weights fitted to the float model's outputs (GPTQ); ``nearest``.
    bias_correction : bool
        Take each channel's mean error on the calibration images out of its bias.
    float_pooling : bool
        Average over whole planes in float: their means on the range of what they average would lose most of their bits.
    float_output : bool
        The last linear layer's sums are not rounded to 8 bits.
    avoid_ties : bool
        Scales and biases with which no value lies in the middle between two steps, so that all engines round alike.
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
    pruning : float
        Share (0 to below 1) of each INT8 layer's weights, those least in magnitude, that become 0 (Han et al. 2016); not of
        depthwise convolutions and layers of less than 1 % of all weights. Makes the file smaller with `entropy_coding`.
    shared_weight_bits : int, optional
        2 to 7: each such layer's weights share 2 to that power distinct integers. Makes the file smaller likewise.
    entropy_coding : bool
        Entropy-code the model in its file (zstandard); decoded when it is loaded. Nothing is lost.
    """

    recipe: str = "static"
    observer: str = "histogram"
    target: str = "vnni"
    fold_batch_norms: bool = True
    clamp_ranges: bool = True
    equalization: bool = True
    high_bias_absorption: bool = False
    weight_scales: str = "mse"
    rounding: str = "least_squares"
    bias_correction: bool = True
    float_pooling: bool = True
    float_output: bool = True
    avoid_ties: bool = True
    limit_depthwise_weights: bool = True
    float_slow_layers: bool = True
    float_layers: tuple[str, ...] = ()
    minimum_sqnr_db: float = 25.0
    batch_size: int = 16
    pruning: float = 0.0
    shared_weight_bits: int | None = None
    entropy_coding: bool = True

    def __post_init__(self) -> None:
        check_choice("quantization.recipe", self.recipe, RECIPES)
        check_choice("quantization.observer", self.observer, OBSERVERS)
        check_choice("quantization.target", self.target, TARGETS)
        check_choice("quantization.weight_scales", self.weight_scales, WEIGHT_SCALES)
        check_choice("quantization.rounding", self.rounding, ROUNDINGS)
        if not all(isinstance(name, str) for name in self.float_layers):
            raise ConfigError(f"quantization.float_layers: expected names of layers; got {self.float_layers!r}.")
        object.__setattr__(self, "float_layers", tuple(self.float_layers))
        object.__setattr__(self, "minimum_sqnr_db", number("quantization.minimum_sqnr_db", self.minimum_sqnr_db))
        check_positive("quantization.batch_size", self.batch_size)
        object.__setattr__(self, "pruning", number("quantization.pruning", self.pruning))
        self._check_compression()

    def _check_compression(self) -> None:
        if not 0 <= self.pruning < 1:
            raise ConfigError(f"quantization.pruning: expected a share from 0 to below 1; got {self.pruning}.")
        bits = self.shared_weight_bits
        if bits is not None and (isinstance(bits, bool) or not isinstance(bits, int) or not 2 <= bits <= 7):
            raise ConfigError(f"quantization.shared_weight_bits: expected a whole number from 2 to 7; got {bits!r}.")
        if self.recipe == "none" and (self.pruning or bits is not None):
            raise ConfigError(
                "quantization.recipe: expected an INT8 recipe with pruning or shared_weight_bits; got 'none'.",
                hint="entropy_coding alone works with it.",
            )

    def with_effort(self, effort: str) -> QuantizationConfig:
        """These settings with others in place of those that take the most time, or give the closest model.

        Parameters
        ----------
        effort : str
            ``fast``: weights rounded to the nearest integer, biases corrected. ``default``: as they are. ``best``: weights fitted
            to the float model's outputs, and every observer tried.

        Raises
        ------
        ConfigError
            If it is none of these.
        """
        check_choice("effort", effort, EFFORTS)
        return replace(self, **_EFFORTS[effort])  # type: ignore[arg-type]

    @property
    def activation_levels(self) -> int:
        """Into how many levels the range of an activation is cut."""
        return 256 if self.target == "vnni" else 128


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
        check_positive("calibration.images", self.images)
