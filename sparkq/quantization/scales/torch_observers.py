"""Observers for torch's FX flow: of activations and of weights.

- Activations are counted in a histogram; which range it gives is chosen later (`sparkq.quantization.scales.activation_ranges`).
- Weight scales, one an output channel, are searched for the least squared rounding error, from that of the largest weight
  inwards (Nagel et al. 2021, "A White Paper on Neural Network Quantization", section 3.1, the MSE range): a channel with one
  large weight keeps finer steps for the others.
- Balanced rounding needs no data: as few weights as possible are rounded the other way, so that a row's errors sum to less
  than one step (Guo et al. 2022, "SQuant: On-the-Fly Data-Free Quantization via Diagonal Hessian Approximation", section 3, by
  channel).
"""
from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.ao.quantization.observer import ObserverBase

from sparkq.quantization.calibration.histogram import Histogram
from sparkq.quantization.scales.activation_ranges import RANGES, quantization_parameters
from sparkq.quantization.scales.depthwise import LARGEST_PAIR, is_depthwise, largest_pairs
from sparkq.quantization.scales.ties import snap

__all__ = ["ActivationObserver", "WeightObserver", "pair_scales", "round_balanced", "weight_scales"]

_WEIGHT_STEPS = 60
_LEAST_WEIGHT_SHARE = 0.4
_VALUES_AT_ONCE = 2**15


class ActivationObserver(ObserverBase):
    """Counts an activation's values; its range is chosen when the model is converted.

    Parameters
    ----------
    method : str
        A key of ``sparkq.quantization.scales.activation_ranges.RANGES``.
    levels : int
        256, or 128 where 8-bit activations may saturate 16-bit sums (``target: avx2``).
    """

    def __init__(self, method: str = "histogram", levels: int = 256, **_: Any) -> None:
        super().__init__(dtype=torch.quint8)
        self.method = method
        self.levels = levels
        self.quant_min, self.quant_max = 0, levels - 1
        self.qscheme = torch.per_tensor_affine
        self.histogram = Histogram()
        self.upper_bound = math.inf
        self.lower_bound = -math.inf

    def forward(self, x: Tensor) -> Tensor:
        """Count `x` and hand it on."""
        if x.numel():
            self.histogram.add(x.detach())
        return x

    def range(self) -> tuple[float, float]:
        """Lowest and highest value to represent."""
        low = min(max(self.histogram.minimum, self.lower_bound), 0.0)
        high = max(min(self.histogram.maximum, self.upper_bound), 0.0)
        if not low < high < math.inf or not math.isfinite(low):
            return 0.0, 0.0
        return RANGES[self.method](self.histogram, self.levels, low, high)

    def calculate_qparams(self, **_: Any) -> tuple[Tensor, Tensor]:
        """Scale and zero point, one each."""
        scale, zero_point = quantization_parameters(*self.range(), self.levels)
        return torch.tensor([scale]), torch.tensor([zero_point])


class WeightObserver(ObserverBase):
    """Symmetric INT8 weights with one scale an output channel.

    Parameters
    ----------
    search : bool
        Take the scale of least squared error, not that of the largest weight.
    limit_pairs : bool
        Keep depthwise weights small enough for fbgemm's 16-bit sums.
    """

    def __init__(self, search: bool = True, limit_pairs: bool = True, ch_axis: int = 0, **_: Any) -> None:
        super().__init__(dtype=torch.qint8)
        self.limit_pairs = limit_pairs
        self.search = search
        self.ch_axis = ch_axis
        self.quant_min, self.quant_max = -128, 127
        self.qscheme = torch.per_channel_symmetric
        self.scales = torch.ones(1)

    def forward(self, x: Tensor) -> Tensor:
        """Find the scales of `x` and hand it on."""
        rows = x.detach().transpose(0, self.ch_axis).flatten(1)
        pairs = self.limit_pairs and is_depthwise(x)
        self.scales = pair_scales(rows) if pairs else weight_scales(rows) if self.search else weight_scales(rows, steps=1)
        return x

    def calculate_qparams(self, **_: Any) -> tuple[Tensor, Tensor]:
        """Scales and zero points, one a channel."""
        return self.scales, torch.zeros(len(self.scales), dtype=torch.int64)


def weight_scales(
    rows: Tensor, importance: Tensor | None = None, *, steps: int = _WEIGHT_STEPS, grid: Tensor | None = None,
) -> Tensor:
    """Scales that give each row the least (weighted) squared rounding error, by search.

    Parameters
    ----------
    rows : Tensor
        float32 [O, K].
    importance : Tensor, optional
        Weight of each squared error, broadcast to [O, K]; e.g. the second moments of the inputs.
    steps : int
        How many scales are tried, from the maximum's inwards; 1 tries only that one.
    grid : Tensor, optional
        What each scale is a multiple of, [O].

    Returns
    -------
    Tensor
        float32 [O].
    """
    parts = max(1, len(rows) * rows.shape[1] // _VALUES_AT_ONCE)
    # A few rows at a time stay in the processor's cache through all the steps.
    size = -(-len(rows) // parts)
    weighted = None if importance is None else importance.expand_as(rows)
    return torch.cat([
        _scales_of(
            rows[start:start + size], None if weighted is None else weighted[start:start + size],
            None if grid is None else grid[start:start + size], steps,
        ) for start in range(0, len(rows), size)
    ])


def _scales_of(rows: Tensor, importance: Tensor | None, grid: Tensor | None, steps: int) -> Tensor:
    largest = (rows.abs().amax(1) / 127).clamp_min(2.0**-40)
    best, least = largest.clone(), torch.full_like(largest, math.inf)
    squares = torch.empty_like(rows)
    for share in torch.linspace(1, _LEAST_WEIGHT_SHARE, steps):
        scales = snap(largest * share, grid)
        column = scales[:, None].to(rows)
        torch.div(rows, column, out=squares).round_().clamp_(-128, 127).mul_(column).sub_(rows).square_()
        error = (squares if importance is None else squares.mul_(importance)).sum(1)
        better = error < least
        best, least = torch.where(better, scales, best), torch.where(better, error, least)
    return best


def pair_scales(rows: Tensor) -> Tensor:
    """Scales for depthwise weights [O, K] whose integers cannot saturate fbgemm's 16-bit sums; [O]."""
    # Both integers of a pair may be rounded up by half a step.
    return torch.maximum(largest_pairs(rows) / (LARGEST_PAIR - 1), rows.abs().amax(1) / 127).clamp_min(2.0**-40)


def round_balanced(rows: Tensor, scales: Tensor) -> Tensor:
    """Round rows of weights so that each row's rounding errors sum to less than one step. Needs no data.

    Inputs behind a ReLU have means above zero, and what a row's errors sum to shifts its output by that times the mean. Those
    weights are rounded the other way that lie nearest to the middle between two steps.

    Parameters
    ----------
    rows : Tensor
        float32 [O, K].
    scales : Tensor
        [O].

    Returns
    -------
    Tensor
        Integers -128 to 127 as float32 [O, K].
    """
    exact = rows / scales[:, None]
    nearest = exact.round().clamp_(-128, 127)
    error = nearest - exact
    total = error.sum(1).round()
    direction = total.sign()[:, None]
    rank = (error * direction).argsort(1, descending=True).argsort(1)
    turned = rank < total.abs()[:, None]
    return torch.where(turned, nearest - direction, nearest).clamp_(-128, 127)
