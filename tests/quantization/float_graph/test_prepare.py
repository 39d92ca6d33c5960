"""Every rewriting of the float graph leaves what trained models compute as it was."""
from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import fx, nn
from torch.nn import functional as F

from sparkq.config import QuantizationConfig
from sparkq.quantization.calibration.image_set import CalibrationSet
from sparkq.quantization.float_graph.classifier import last_convolution_to_linear
from sparkq.quantization.float_graph.equalization import absorb_high_biases, equalize
from sparkq.quantization.float_graph.fold import fold_batch_norms
from sparkq.quantization.float_graph.macs import int8_share, layer_macs
from sparkq.quantization.float_graph.pads import fold_pads
from sparkq.quantization.float_graph.pooling import keep_means_in_float
from sparkq.quantization.float_graph.prepare import float_graph
from sparkq.quantization.float_graph.relu6 import BoundedReLU, lower_bounded_relus, raise_bounded_relus
from sparkq.quantization.float_graph.trace import propagate_shapes, trace_float
from sparkq.quantization.normalization import normalize
from tests.quantization.trained_models import MODELS, Trained, trained


@pytest.fixture(scope="module", params=sorted(MODELS))
def model(request: pytest.FixtureRequest, shared_data: Path) -> Trained:
    return trained(shared_data, request.param, images=12, held_out=4)


def _far(expected: torch.Tensor, got: torch.Tensor) -> float:
    return float((expected - got).abs().max() / expected.abs().max())


def _count(graph: fx.GraphModule, kind: type[nn.Module]) -> int:
    return sum(isinstance(module, kind) for module in graph.modules())


@torch.no_grad()
def test_each_step_leaves_a_trained_model_as_it_was(model: Trained) -> None:
    batch = normalize(torch.from_numpy(model.calibration.images[:4]), model.preprocess)
    expected = model.model(batch)
    graph = trace_float(model.model, batch)
    observe = partial(CalibrationSet(model.calibration.images[:4], "").observe, preprocess=model.preprocess, batch_size=4)
    steps = (
        fold_batch_norms, fold_pads, last_convolution_to_linear, keep_means_in_float, raise_bounded_relus,
        lambda graph: absorb_high_biases(graph, observe), lambda graph: equalize(graph, observe),
    )
    for step in steps:
        step(graph)
        assert _far(expected, graph(batch)) < 1e-4, step
        propagate_shapes(graph, batch)
    assert _count(graph, nn.BatchNorm2d) == 0


@torch.no_grad()
def test_model_itself_is_left_alone(model: Trained) -> None:
    before = {name: value.clone() for name, value in model.model.state_dict().items()}
    float_graph(model.model, model.calibration, model.preprocess, QuantizationConfig(high_bias_absorption=True))
    after = model.model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


class _Padded(nn.Module):
    def __init__(self, pads: tuple[int, ...], conv: nn.Conv2d) -> None:
        super().__init__()
        self.pads, self.conv = pads, conv

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(F.pad(x, self.pads))


@pytest.mark.parametrize("size", [13, 14])
@pytest.mark.parametrize("pads", [(1, 1, 1, 1), (0, 1, 0, 1), (1, 0, 1, 0), (0, 1, 1, 1), (2, 1, 0, 3), (0, 0, 2, 2)])
@pytest.mark.parametrize("conv", [
    dict(kernel_size=3, stride=2), dict(kernel_size=3, stride=2, groups=8), dict(kernel_size=3, groups=8),
    dict(kernel_size=5, stride=2, padding=1), dict(kernel_size=3, dilation=2), dict(kernel_size=(1, 3), groups=2),
])
@torch.no_grad()
def test_pads_fold_exactly(size: int, pads: tuple[int, ...], conv: dict[str, int]) -> None:
    torch.manual_seed(0)
    model = _Padded(pads, nn.Conv2d(8, 8, **conv)).eval()  # type: ignore[arg-type]
    batch = torch.randn(2, 8, size, size)
    graph = trace_float(model, batch)
    fold_pads(graph)
    assert _far(model(batch), graph(batch)) < 1e-5


@torch.no_grad()
def test_tensorflow_padding_gets_the_fast_depthwise_kernel() -> None:
    batch = torch.randn(1, 8, 28, 28)
    graph = trace_float(_Padded((0, 1, 0, 1), nn.Conv2d(8, 8, 3, 2, groups=8)), batch)
    fold_pads(graph)
    conv = graph.get_submodule("conv")
    assert isinstance(conv, nn.Conv2d) and conv.kernel_size == (5, 5) and conv.padding == (2, 2)


@pytest.mark.parametrize("clamp", [
    nn.ReLU6(), nn.Hardtanh(0.0, 4.0), lambda x: F.relu6(x), lambda x: x.clamp(0, 2.5), lambda x: torch.clamp(x, min=0, max=3),
    lambda x: F.hardtanh(x, 0.0, 1.5),
])
@torch.no_grad()
def test_clamps_from_zero_become_ranges(clamp: nn.Module) -> None:
    class Clamped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.clamp = nn.Conv2d(3, 8, 3), clamp

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.clamp(self.conv(x)).flatten(1)

    batch = torch.randn(2, 3, 9, 9) * 8
    model = Clamped()
    graph = trace_float(model, batch)
    raise_bounded_relus(graph)
    assert _count(graph, BoundedReLU) == 1
    assert torch.equal(model(batch), graph(batch))
    assert set(lower_bounded_relus(graph)) == {"conv"}
    assert _count(graph, BoundedReLU) == 0


@torch.no_grad()
def test_clamps_below_zero_are_left() -> None:
    graph = trace_float(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Hardtanh()), torch.randn(1, 3, 9, 9))
    raise_bounded_relus(graph)
    assert _count(graph, BoundedReLU) == 0 and _count(graph, nn.Hardtanh) == 1


@torch.no_grad()
def test_batch_norm_behind_relu_folds_forward_without_padding_only() -> None:
    def model(padding: int) -> nn.Sequential:
        norm = nn.BatchNorm2d(8)
        norm.running_mean, norm.running_var = torch.randn(8), torch.rand(8) + 0.5
        return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), norm, nn.Conv2d(8, 4, 3, padding=padding)).eval()

    batch = torch.randn(2, 3, 12, 12)
    for padding, left in ((0, 0), (1, 1)):
        inside = model(padding)
        graph = trace_float(inside, batch)
        fold_batch_norms(graph, behind_relu=False)
        assert _count(graph, nn.BatchNorm2d) == 1
        fold_batch_norms(graph)
        assert _count(graph, nn.BatchNorm2d) == left
        assert _far(inside(batch), graph(batch)) < 1e-5


def test_macs_are_counted_as_by_hand() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, groups=8), nn.Flatten(), nn.Linear(8 * 6 * 6, 5))
    macs = layer_macs(trace_float(model.eval(), torch.randn(1, 3, 16, 16)))
    assert macs == {"0": 8 * 8 * 8 * 27, "1": 8 * 6 * 6 * 9, "3": 5 * 288}
    assert int8_share(macs, ["1"]) == pytest.approx(1 - 2592 / sum(macs.values()))
