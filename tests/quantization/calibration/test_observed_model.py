"""Passes over calibration images: the same to the bit whatever the order, the grouping, the threads, and as a program."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, fx, nn

from sparkq.errors import ModelError
from sparkq.quantization.calibration.histogram import Histogram
from sparkq.quantization.calibration.image_set import CalibrationSet
from sparkq.quantization.calibration.observations import Observations
from sparkq.quantization.calibration.observed_model import (
    ChannelExtremesOf,
    CountsOf,
    observe_batches,
    observed_model,
)
from sparkq.quantization.calibration.observed_program import dumps_observed, load_observed
from tests.models import SMALL, FailsOnWhite, SmallNet, noise
from tests.quantization.trained_models import trained

BATCH = 4


def observed(graph: fx.GraphModule, kind: type[CountsOf], images: npt.NDArray[np.uint8]) -> Observations:
    nodes = [node for node in graph.graph.nodes if node.op != "output"]
    return CalibrationSet(images, "").observe(graph, nodes, kind, preprocess=SMALL, batch_size=BATCH)


def assert_same(first: Observations, second: Observations) -> None:
    assert first.dumps() == second.dumps()


@pytest.fixture(scope="module")
def graph() -> fx.GraphModule:
    return fx.symbolic_trace(SmallNet().eval())


IMAGES = np.stack(noise(11))


@pytest.mark.parametrize("kind", [CountsOf, ChannelExtremesOf])
@pytest.mark.parametrize("cuts", [[1], [3], [2, 5, 6], list(range(1, 11))])
def test_any_grouping_and_order(graph: fx.GraphModule, kind: type[CountsOf], cuts: list[int]) -> None:
    """To the bit, also by way of the program and of the bytes that executors send back."""
    nodes = [node for node in graph.graph.nodes if node.op == "call_module"]
    whole = CalibrationSet(IMAGES, "").observe(graph, nodes, kind, preprocess=SMALL, batch_size=BATCH)
    model = observed_model(graph, nodes, kind, SMALL, batch_size=BATCH, images=IMAGES)
    run = load_observed(dumps_observed(model, IMAGES[0]))
    shuffled = IMAGES[np.random.default_rng(0).permutation(len(IMAGES))]
    merged = Observations()
    for part in np.split(shuffled, cuts):
        batches = (part[start:start + BATCH] for start in range(0, len(part), BATCH))
        merged.merge(Observations.loads(observe_batches(run, batches, BATCH).dumps()))
    assert_same(merged, whole)


def test_counts_are_those_of_the_images_alone(graph: fx.GraphModule) -> None:
    """Images that only fill a batch up are not counted."""
    [nodes] = [[node] for node in graph.graph.nodes if node.name == "conv1"]
    seen = CalibrationSet(IMAGES, "").observe(graph, nodes, CountsOf, preprocess=SMALL, batch_size=BATCH)
    values = graph.conv1(torch.from_numpy(IMAGES).permute(0, 3, 1, 2) / 255)  # type: ignore[operator]
    expected = Histogram()
    expected.add(values.detach())
    [found] = seen.histograms
    assert found.counts.sum() == expected.counts.sum() == values.numel()
    assert (found.minimum, found.maximum) == pytest.approx((expected.minimum, expected.maximum), rel=1e-5)


@pytest.mark.parametrize("name", ["resnet20_cifar10", "mobilenet_v1_025"])
def test_threads_and_order_do_not_matter_to_trained_models(shared_data: Path, name: str) -> None:
    """Real weights, real photographs."""
    case = trained(shared_data, name, images=6, held_out=2)
    graph = fx.symbolic_trace(case.model)
    nodes = [node for node in graph.graph.nodes if node.op == "call_module"]
    threads = torch.get_num_threads()
    seen = []
    try:
        for count, images in ((1, case.calibration.images), (2, case.calibration.images[::-1])):
            torch.set_num_threads(count)
            found = CalibrationSet(images, "").observe(graph, nodes, CountsOf, preprocess=case.preprocess, batch_size=BATCH)
            seen.append(found)
    finally:
        torch.set_num_threads(threads)
    assert_same(*seen)


class _Odd(SmallNet):
    """With a constant, and with images in another dimension than the first."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.arange(BATCH, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        """float32 [N, 3, H, W] to [N, 4]."""
        swapped = super().forward(x).transpose(0, 1) + 1
        return swapped.transpose(0, 1) + self.table


def test_tensors_without_rows_of_images() -> None:
    """They are seen image by image; so no image is left out and none counts twice."""
    graph = fx.symbolic_trace(_Odd().eval())
    whole = observed(graph, CountsOf, IMAGES)
    by_name = dict(zip([node.name for node in graph.graph.nodes], whole.histograms, strict=False))
    assert by_name["table"].counts.sum() == BATCH * len(IMAGES)
    assert by_name["transpose"].counts.sum() == 4 * len(IMAGES)
    assert_same(whole, observed(graph, CountsOf, IMAGES[::-1]))


def test_a_model_that_fails_on_an_image() -> None:
    graph = fx.symbolic_trace(FailsOnWhite())
    images = np.stack([*noise(5, high=200), np.full((16, 16, 3), 255, np.uint8)])
    with pytest.raises(ModelError, match="forward pass"):
        observed(graph, CountsOf, images)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("kind", [CountsOf, ChannelExtremesOf])
def test_values_that_are_not_finite(value: float, kind: type[CountsOf]) -> None:
    """Named with their place: later, in INT8, none would be seen."""
    model = SmallNet().eval()
    with torch.no_grad():
        model.bn2.bias[1] = value
    graph = fx.symbolic_trace(model)
    nodes = [node for node in graph.graph.nodes if node.name in ("conv1", "bn2")]
    with pytest.raises(ModelError, match="NaN or infinite values at bn2"):
        CalibrationSet(IMAGES, "").observe(graph, nodes, kind, preprocess=SMALL, batch_size=BATCH)


values = st.lists(st.floats(-100, 100, width=32) | st.sampled_from([0.0, 1.0, 4.0, -2.0, 0.5]), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None)
@given(parts=st.lists(values, min_size=1, max_size=5), data=st.data())
def test_histograms_merge_to_the_same_counts(parts: list[list[float]], data: st.DataObject) -> None:
    """Bit for bit, also where a value is a power of two, the end of a grid."""
    whole, merged = Histogram(), Histogram()
    whole.add(torch.tensor([value for part in parts for value in part]))
    for part in data.draw(st.permutations(parts)):
        one = Histogram()
        one.add(torch.tensor(part))
        merged.merge(one)
    assert (merged.exponent, merged.minimum, merged.maximum) == (whole.exponent, whole.minimum, whole.maximum)
    assert np.array_equal(merged.counts, whole.counts)


def test_the_graph_is_left_as_it_was(graph: fx.GraphModule) -> None:
    before, names = graph.code, [name for name, _ in graph.named_modules()]
    observed(graph, CountsOf, IMAGES)
    assert graph.code == before and [name for name, _ in graph.named_modules()] == names
