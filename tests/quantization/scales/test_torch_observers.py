"""Histograms that do not depend on order, ranges that each method owes, weight scales that do not saturate."""
from __future__ import annotations

import numpy as np
import pytest
import torch

from sparkq.quantization.calibration.histogram import Histogram
from sparkq.quantization.scales.activation_ranges import RANGES, quantization_parameters
from sparkq.quantization.scales.depthwise import LARGEST_PAIR, largest_pairs
from sparkq.quantization.scales.torch_observers import ActivationObserver, pair_scales, weight_scales


def test_histogram_is_the_same_whatever_the_partitioning() -> None:
    torch.manual_seed(0)
    batches = [torch.randn(1000) * 10**power for power in (-3, 0, 2, -1)]
    whole = Histogram()
    for batch in batches:
        whole.add(batch)
    parts = [Histogram() for _ in batches]
    for part, batch in zip(parts, reversed(batches), strict=True):
        part.add(batch)
    merged = Histogram()
    for part in parts:
        merged.merge(part)
    assert (merged.minimum, merged.maximum, merged.exponent) == (whole.minimum, whole.maximum, whole.exponent)
    assert np.array_equal(merged.counts, whole.counts)
    assert whole.counts.sum() == 4000


@pytest.mark.parametrize("method", sorted(RANGES))
def test_every_method_represents_zero_exactly_and_stays_inside_the_extremes(method: str) -> None:
    torch.manual_seed(0)
    for values in (torch.randn(20000), torch.rand(20000) + 1, -torch.rand(20000), torch.zeros(10), torch.full((10,), 3.0)):
        observer = ActivationObserver(method)
        observer(values)
        low, high = observer.range()
        scale, zero_point = quantization_parameters(low, high, 256)
        assert scale > 0 and 0 <= zero_point <= 255
        assert low >= min(float(values.min()), 0) - 1e-6 and high <= max(float(values.max()), 0) + 1e-6


@pytest.mark.parametrize("method", ["histogram", "mse", "percentile", "entropy"])
def test_an_outlier_does_not_set_the_range(method: str) -> None:
    torch.manual_seed(0)
    observer = ActivationObserver(method)
    observer(torch.cat([torch.randn(200_000).abs(), torch.tensor([50.0])]))
    assert observer.range()[1] < 45


def test_mse_has_the_least_error() -> None:
    torch.manual_seed(0)
    values = torch.randn(50000).exp()
    errors = {}
    for method in RANGES:
        observer = ActivationObserver(method)
        observer(values)
        scale, zero_point = quantization_parameters(*observer.range(), 256)
        rounded = torch.fake_quantize_per_tensor_affine(values, scale, zero_point, 0, 255)
        errors[method] = float((rounded - values).square().mean())
    assert errors["mse"] <= min(errors.values()) * 1.02


def test_bound_of_a_clamp_ends_the_range() -> None:
    observer = ActivationObserver("min_max")
    observer.lower_bound, observer.upper_bound = 0.0, 6.0
    observer(torch.linspace(-20, 40, 1000))
    assert observer.range() == (0.0, 6.0)


def test_searched_weight_scales_are_no_worse_than_the_largest_weights() -> None:
    torch.manual_seed(0)
    rows = torch.randn(16, 400) ** 3

    def error(scales: torch.Tensor) -> torch.Tensor:
        rounded = (rows / scales[:, None]).round().clamp(-128, 127) * scales[:, None]
        return (rounded - rows).square().sum(1)

    searched, largest = error(weight_scales(rows)), error(weight_scales(rows, steps=1))
    assert (searched <= largest).all() and searched.sum() < 0.99 * largest.sum()


def test_depthwise_scales_cannot_saturate_pairs() -> None:
    torch.manual_seed(0)
    rows = torch.randn(500, 9) * torch.rand(500, 1) * 9
    integers = (rows / pair_scales(rows)[:, None]).round()
    assert largest_pairs(integers).max() <= LARGEST_PAIR and integers.abs().max() <= 127
