"""Moments of a layer's inputs: what is summed in integers is what double precision gives, whatever multiplies them."""
from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.ao.nn import quantized as nnq
from torch.nn import functional as F

from sparkq.quantization.recipes.static import quietly
from sparkq.quantization.weights.moments import input_moments

CONVOLUTIONS: dict[str, Callable[[], nnq.Conv2d]] = {
    "plain": lambda: nnq.Conv2d(8, 4, 3, padding=1),
    "strided": lambda: nnq.Conv2d(8, 4, 3, stride=2, padding=1),
    "dilated": lambda: nnq.Conv2d(8, 4, (1, 3), padding=(0, 2), dilation=(1, 2)),
    "grouped": lambda: nnq.Conv2d(8, 4, 3, padding=1, groups=2),
    "depthwise": lambda: nnq.Conv2d(8, 8, 3, padding=1, groups=8),
    "1 x 1": lambda: nnq.Conv2d(8, 4, 1),
}


def _inputs(shape: tuple[int, ...], *, channels_last: bool = False) -> tuple[list[Tensor], list[Tensor]]:
    floats = [torch.randn(shape).relu() for _ in range(3)]
    integers = [torch.quantize_per_tensor(x + 0.02 * torch.randn(shape), 0.02, 3, torch.quint8) for x in floats]
    if channels_last:
        integers = [q.contiguous(memory_format=torch.channels_last) for q in integers]
    return floats, integers


def _unfolded(layer: nnq.Conv2d, x: Tensor) -> Tensor:
    """All patches as torch's own unfold gives them, float64 [G, P, K]."""
    patches = F.unfold(x.double(), layer.kernel_size, layer.dilation, layer.padding, layer.stride)
    images, rows, places = patches.shape
    grouped = patches.view(images, layer.groups, rows // layer.groups, places)
    return grouped.permute(1, 0, 3, 2).reshape(layer.groups, images * places, -1)


def _check(found: tuple[Tensor, ...], x: Tensor, q: Tensor) -> None:
    mean_x, mean_q = x.mean(1), q.mean(1)
    near = (x - mean_x[:, None]), (q - mean_q[:, None])
    count = x.shape[1]
    expected = mean_x, mean_q, near[0].mT @ near[1] / count, near[1].mT @ near[1] / count
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("vnni", [True, False])
@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(name: str, channels_last: bool, vnni: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """On images so small that every position is taken: against torch's unfold, in double precision."""
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: vnni)
    with quietly():
        layer = CONVOLUTIONS[name]()
        floats, integers = _inputs((4, 8, 7, 9), channels_last=channels_last)
        found = input_moments(layer, floats, integers)
    x, q = (torch.cat([_unfolded(layer, part) for part in parts], 1) for parts in (floats, [q.dequantize() for q in integers]))
    _check((found.mean_x, found.mean_q, found.cross, found.gram), x, q)


def test_the_way_of_multiplying_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the bit: sums of integers are exact; and means alone are the same means."""
    with quietly():
        layer = nnq.Linear(40, 5)
        floats, integers = _inputs((600, 40))
        found = []
        for vnni in (True, False):
            monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda answer=vnni: answer)
            found.append(input_moments(layer, floats, integers))
        means = input_moments(layer, floats, integers, only_means=True)
    one, other = found
    assert torch.equal(one.cross, other.cross) and torch.equal(one.gram, other.gram)
    assert torch.equal(one.mean_x, means.mean_x) and torch.equal(one.mean_q, means.mean_q) and means.gram.numel() == 0
    _check((one.mean_x, one.mean_q, one.cross, one.gram), torch.cat(floats)[None].double(),
           torch.cat([q.dequantize() for q in integers])[None].double())


@pytest.mark.parametrize("vnni", [True, False])
def test_sums_that_32_bits_do_not_hold(vnni: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch of so many rows at the end of the range that their products would wrap around."""
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: vnni)
    with quietly():
        layer = nnq.Linear(4, 2)
        lowest = torch.quantize_per_tensor(torch.zeros(300_000, 4), 1.0, 0, torch.quint8)
        highest = torch.quantize_per_tensor(torch.full((300_000, 4), 255.0), 1.0, 0, torch.quint8)
        found = input_moments(layer, [torch.zeros(300_000, 4), torch.full((300_000, 4), 255.0)], [lowest, highest])
    assert torch.allclose(found.mean_q, torch.full((1, 4), 127.5, dtype=torch.float64))
    assert torch.allclose(found.gram, torch.full((1, 4, 4), 127.5**2, dtype=torch.float64))
    assert torch.allclose(found.cross, found.gram, rtol=1e-3)
