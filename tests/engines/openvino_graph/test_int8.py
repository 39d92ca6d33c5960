"""INT8 layers in OpenVINO: run in integers, and rounded where the program says, neither more often nor less."""
from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from sparkq.engines.openvino_graph.build import openvino_model
from sparkq.program.interpreter import interpret
from sparkq.program.types import Attribute
from tests.engines.openvino_graph.layers import IMAGES, Layers
from tests.engines.openvino_graph.running import compiled, layer_precisions

_POOL: dict[str, Attribute] = {"kernel_size": (3, 3), "stride": (2, 2), "padding": (1, 1)}
_MAX: dict[str, Attribute] = {**_POOL, "dilation": (1, 1), "ceil_mode": True}


def _sum(g: Layers, operator: str = "add") -> str:
    x = g.planes()
    return g.rounded(g.add("relu", g.add(operator, g.rounded(g.conv(x, 16)), x)))


def _sum_of_two(g: Layers) -> str:
    x = g.planes()
    return g.rounded(g.add("relu", g.add("add", g.rounded(g.conv(x, 16)), g.rounded(g.conv(x, 16)))))


def _sum_that_is_read_twice(g: Layers) -> str:
    x = g.planes()
    total = g.rounded(g.add("add", x, g.rounded(g.conv(x, 16))))
    return g.rounded(g.add("add", total, g.rounded(g.conv(total, 16, groups=16))))


def _batch_norm(g: Layers, x: str) -> str:
    channels = g.type(x).shape[1]
    spread = [g.floats(channels, low=0.5, high=2) for _ in range(2)]
    return g.add("batch_norm", x, spread[0], g.floats(channels), g.floats(channels), spread[1], eps=1e-5)


def _difference(g: Layers) -> str:
    x = g.rounded(g.add("relu", g.pixels()))
    y = g.rounded(g.conv(g.rounded(_batch_norm(g, x)), 3, groups=3, bias=False))
    return g.rounded(g.add("sub", y, x))


def _normed(g: Layers) -> str:
    return g.rounded(g.add("hardswish", g.rounded(_batch_norm(g, g.shifted()))))


def _rounded_twice(g: Layers) -> str:
    x = g.rounded(g.conv(g.pixels(), 24, kernel=1))
    return g.rounded(g.rounded(g.add("relu", _batch_norm(g, x))))


def _squeezed(g: Layers) -> str:
    x = g.shifted()
    gates = g.rounded(g.add("relu", g.conv(g.rounded(g.add("mean", x, dim=(2, 3), keepdim=True)), 8, kernel=1)))
    gates = g.rounded(g.add("hardsigmoid", g.rounded(g.conv(gates, 16, kernel=1))))
    return g.rounded(g.conv(g.rounded(g.add("mul", x, gates)), 8))


def _kept(g: Layers, operator: str, **attributes: Attribute) -> str:
    """A layer behind an operator whose result lies on the grid of its input, and is rounded to it once more."""
    x = g.shifted()
    return g.rounded(g.conv(g.to_grid(g.add(operator, x, **attributes), *g.grid(x)), 8))  # type: ignore[arg-type]


def _between(g: Layers, operator: str, **attributes: Attribute) -> str:
    """A layer behind an operator whose result is rounded anew."""
    return g.rounded(g.conv(g.rounded(g.add(operator, g.shifted(), **attributes)), 8))  # type: ignore[arg-type]


def _unrounded(g: Layers, operator: str, **attributes: Attribute) -> str:
    """An activation behind an operator whose result is not rounded."""
    x = g.add(operator, g.shifted(), **attributes)  # type: ignore[arg-type]
    return g.rounded(g.add("leaky_relu", x, negative_slope=0.1))


def _concatenated(g: Layers) -> str:
    x = g.planes()
    parts = x, g.rounded(g.conv(x, 16)), g.rounded(g.conv(x, 8, kernel=1))
    return g.rounded(g.conv(g.rounded(g.add("cat", *parts, dim=1)), 8))


def _concatenated_floats(g: Layers) -> str:
    x = g.pixels()
    parts = g.rounded(g.add("relu", g.conv(x, 16, kernel=1))), x
    return g.rounded(g.add("hardswish", g.add("cat", *parts, dim=1)))


def _two_readers_of_sums(g: Layers) -> str:
    x = g.conv(g.pixels(), 8, bias=False)
    return g.rounded(g.add("mul", x, g.add("hardsigmoid", g.rounded(g.add("mean", x, dim=(2, 3), keepdim=True)))))


def _linear(g: Layers) -> str:
    rows = g.rounded(g.add("permute", g.add("view", g.shifted(), shape=(-1, 16, 64)), dims=(0, 2, 1)))
    hidden = g.rounded(g.add("gelu", g.rounded(g.add("linear", rows, g.weight(32, 16), g.floats(32))), approximate="none"))
    back = g.rounded(g.add("linear", hidden, g.weight(16, 32), None))
    mean = g.rounded(g.add("mean", g.add("add", rows, back), dim=(1,), keepdim=False))
    return g.add("linear", mean, g.weight(9, 16), g.floats(9))


def _linear_of_means(g: Layers) -> str:
    return g.add("linear", g.add("mean", g.shifted(), dim=(2, 3), keepdim=False), g.weight(9, 16), g.floats(9))


def _transposed(g: Layers) -> str:
    return g.rounded(g.add(
        "conv_transpose2d", g.planes(), g.weight(16, 8, 2, 2, axis=1), g.floats(8), stride=(2, 2), padding=(0, 0),
        dilation=(1, 1), groups=1, output_padding=(0, 0),
    ))


def _dynamic(g: Layers) -> str:
    x = g.add("relu", g.conv(g.planes(), 16))
    step = g.add("clamp", g.add("div", g.add("amax", x, dim=(1, 2, 3), keepdim=True), 255), min=1e-18, max=None)
    sums = g.add(
        "conv2d", g.to_grid(g.add("div", x, step), 1.0, 0), g.weight(8, 16, 3, 3), None, stride=(1, 1), padding=(1, 1),
        dilation=(1, 1), groups=1,
    )
    return g.add("add", g.add("mul", sums, step), g.floats(1, 8, 1, 1))


def _shuffled(g: Layers) -> str:
    x = g.add("permute", g.add("view", g.shifted(), shape=(-1, 2, 8, 8, 8)), dims=(0, 2, 1, 3, 4))
    return g.rounded(g.conv(g.add("view", x, shape=(-1, 16, 8, 8)), 8))


NETWORKS: dict[str, tuple[Callable[[Layers], str], int]] = {
    "a sum": (_sum, 2),
    "a difference": (lambda g: _sum(g, "sub"), 2),
    "a difference from a depthwise layer": (_difference, 1),
    "a product": (lambda g: _sum(g, "mul"), 2),
    "a sum of two layers": (_sum_of_two, 3),
    "a sum that is read twice": (_sum_that_is_read_twice, 3),
    "a norm behind a layer": (_normed, 2),
    "two roundings": (_rounded_twice, 1),
    "gates": (_squeezed, 5),
    "relu above a zero point": (lambda g: _kept(g, "relu"), 3),
    "max_pool2d": (lambda g: _kept(g, "max_pool2d", **_MAX), 3),
    "padded planes": (lambda g: _kept(g, "pad", pad=(1, 2, 0, 1), mode="constant", value=0.0), 3),
    "padded channels": (lambda g: _kept(g, "pad", pad=(0, 0, 0, 0, 8, 8), mode="constant", value=0.0), 3),
    "limits within the grid": (lambda g: _kept(g, "clamp", min=-1.0, max=2.0), 3),
    "averages with padding": (lambda g: _between(g, "avg_pool2d", **_POOL, ceil_mode=False, count_include_pad=True), 3),
    "averages without padding": (lambda g: _between(g, "avg_pool2d", **_POOL, ceil_mode=True, count_include_pad=False), 3),
    "nearest": (lambda g: _between(g, "upsample_nearest2d", output_size=(16, 16)), 3),
    "averages that are not rounded": (
        lambda g: _unrounded(g, "avg_pool2d", **_POOL, ceil_mode=False, count_include_pad=False), 2,
    ),
    "limits that are not rounded": (lambda g: _unrounded(g, "clamp", min=-1.0, max=2.0), 2),
    "a concatenation": (_concatenated, 4),
    "a concatenation that is not rounded": (_concatenated_floats, 1),
    "two readers of sums": (_two_readers_of_sums, 1),
    "linear": (_linear, 5),
    "linear of means that are not rounded": (_linear_of_means, 2),
    "conv_transpose2d": (_transposed, 2),
    "steps of each image": (_dynamic, 3),
    "shuffled channels": (_shuffled, 3),
}
"""By what is special: the network, and how many of its layers run in integers."""


@pytest.mark.parametrize("batch_size", [len(IMAGES), None], ids=["batch", "any"])
@pytest.mark.parametrize(("network", "layers"), NETWORKS.values(), ids=NETWORKS.keys())
def test_it_rounds_where_the_program_does(network: Callable[[Layers], str], layers: int, batch_size: int | None) -> None:
    """The interpreter's answers, but for a value in a thousand that lies in the middle between two integers."""
    written = Layers()
    program = written.program(network(written))
    expected = interpret(program, IMAGES)
    model = compiled(program, batch_size)
    found = model(IMAGES)[0]
    assert np.mean(np.abs(found - expected) > 1e-3 * np.abs(expected).max()) <= 1e-3
    assert sum(precision != "f32" for precision in layer_precisions(model)) == layers


def _roundings(written: Layers, output: str) -> int:
    nodes = openvino_model(written.program(output), 4).get_ordered_ops()
    return sum(node.get_type_name() == "FakeQuantize" for node in nodes)


def test_what_only_moves_is_not_rounded_again() -> None:
    """Seven operators with the same rounding between them are one rounding."""
    g = Layers()
    x = g.to_grid(g.add("permute", g.reals((8, 8, 3)), dims=(0, 3, 1, 2)), 0.05, 0)
    one = _roundings(g, x)
    moves: dict[str, dict[str, Attribute]] = {
        "flip": {"dims": (1,)}, "slice": {"dim": 2, "start": 0, "end": 7, "step": 2}, "max_pool2d": _MAX, "relu": {},
        "pad": {"pad": (1, 1), "mode": "constant", "value": 0.0}, "select": {"dim": 1, "index": 1},
    }
    for operator, attributes in moves.items():
        x = g.to_grid(g.add(operator, x, **attributes), 0.05, 0)  # type: ignore[arg-type]
    x = g.to_grid(g.add("cat", x, x, dim=1), 0.05, 0)
    assert one == 1 == _roundings(g, x)
    assert _roundings(g, g.to_grid(x, 0.06, 0)) == 2


def test_values_are_rounded_before_they_are_moved() -> None:
    """Where they are computed: bytes are moved then, not floats."""
    g = Layers()
    x = g.add("permute", g.add("view", g.reals((8, 8, 3)), shape=(-1, 64, 3)), dims=(0, 2, 1))
    nodes = openvino_model(g.program(g.to_grid(x, 0.05, 7)), 4).get_ordered_ops()
    (rounding,) = (node for node in nodes if node.get_type_name() == "FakeQuantize")
    assert rounding.input_value(0).get_node().get_type_name() == "Add"


def _moved(g: Layers) -> str:
    """Integers, moved, that then stand for other numbers."""
    x = g.add("quantize_per_tensor", g.reals((8, 8, 3)), scale=0.03, zero_point=120, quant_min=0, quant_max=255)
    x = g.add("cat", g.add("flip", x, dims=(1, 3)), "images", dim=3)
    x = g.add("select", g.add("permute", x, dims=(0, 2, 3, 1)), dim=1, index=3)
    return g.add("dequantize_per_tensor", x, scale=0.1, zero_point=7)


def _unequal(g: Layers) -> str:
    """Integers on two grids side by side."""
    x = g.reals((8, 8, 3))
    parts = [
        g.add("quantize_per_tensor", x, scale=scale, zero_point=zero_point, quant_min=low, quant_max=high)
        for scale, zero_point, low, high in ((0.03, 120, 0, 255), (0.05, 30, 0, 127), (1.0, 0, 0, 255))
    ]
    return g.add("dequantize_per_tensor", g.add("cat", *parts, dim=1), scale=0.03, zero_point=120)


def _counted(g: Layers) -> str:
    """Integers as numbers of their own."""
    return g.add("_to_copy", g.add("quantize_per_tensor", g.reals((9,)), scale=0.03, zero_point=120, quant_min=9, quant_max=200))


@pytest.mark.parametrize("network", [_moved, _unequal, _counted])
def test_integers_keep_their_meaning(network: Callable[[Layers], str]) -> None:
    """Also where a dequantization does not undo the quantization in front of it."""
    written = Layers()
    program = written.program(network(written))
    np.testing.assert_allclose(compiled(program, 4)(IMAGES)[0], interpret(program, IMAGES), rtol=1e-5, atol=1e-5)
