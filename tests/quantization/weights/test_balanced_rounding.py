"""Rounding without data: each row's errors cancel."""
from __future__ import annotations

import torch

from sparkq.quantization.scales.torch_observers import round_balanced, weight_scales


def test_errors_of_a_row_sum_to_less_than_a_step() -> None:
    torch.manual_seed(0)
    rows = torch.randn(64, 300)
    scales = weight_scales(rows, steps=1)
    integers = round_balanced(rows, scales)
    exact = rows / scales[:, None]
    assert ((integers - exact).sum(1).abs() < 1).all()
    assert (integers - exact).abs().max() <= 1
    assert ((exact.round() - exact).sum(1).abs() > 1).any()
