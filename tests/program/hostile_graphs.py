"""Graphs that no reader may take: a few kilobytes that ask for hours, for more memory than there is, or end the process."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["COSTLY", "MOVED"]

Change = Callable[[dict[str, Any]], object]


class _Graph:
    """Nodes that grow from one number an image, without constants, on images of 32 x 32 pixels."""

    def __init__(self) -> None:
        self.nodes: list[dict[str, Any]] = []
        flat = self.add("view", ["images"], [-1, 3072], dtype="uint8")
        real = self.add("_to_copy", [flat], [-1, 3072])
        self.one = self.add("amax", [real], [-1, 1], dim=[1], keepdim=True)

    def add(self, operator: str, inputs: list[str], shape: list[int], dtype: str = "float32", **attributes: object) -> str:
        """Add a node; return its name."""
        name = f"v{len(self.nodes)}"
        self.nodes.append({
            "name": name, "operator": f"aten.{operator}", "inputs": inputs, "attributes": attributes, "dtype": dtype,
            "shape": shape,
        })
        return name

    def plane(self, *sizes: int) -> str:
        """The number of each image in [N, *sizes]."""
        return self.add("expand", [self.add("view", [self.one], [-1, *[1] * len(sizes)])], [-1, *sizes])

    def full(self, *sizes: int) -> str:
        """Ones, the same for all images."""
        return self.add("full", [], list(sizes), value=1.0)

    def largest(self, x: str, rank: int) -> None:
        """The answer, [N, 1]: the largest value of each image."""
        self.add("view", [self.add("amax", [x], [-1], dim=list(range(1, rank)), keepdim=False)], [-1, 1])


def _change(build: Callable[[_Graph], object]) -> Change:
    def change(graph: dict[str, Any]) -> None:
        written = _Graph()
        build(written)
        graph.update(nodes=written.nodes, output=written.nodes[-1]["name"])
    return change


def _products(g: _Graph) -> None:
    x = g.plane(4096, 4096)
    for _ in range(100):
        x = g.add("matmul", [x, x], [-1, 4096, 4096])
    g.largest(x, 3)


def _fixed_product(g: _Graph) -> None:
    product = g.add("matmul", [g.full(4096, 4096), g.full(4096, 4096)], [4096, 4096])
    largest = g.add("amax", [product], [1, 1], dim=[0, 1], keepdim=True)
    g.add("add", [g.one, largest], [-1, 1])


def _windows(operator: str, shape: tuple[int, int, int], kernel: int, **more: object) -> Callable[[_Graph], None]:
    """Windows around every value."""
    half = kernel // 2

    def build(g: _Graph) -> None:
        shared: dict[str, Any] = {
            "kernel_size": [kernel] * 2, "stride": [1, 1], "padding": [half] * 2, "ceil_mode": False, **more,
        }
        g.largest(g.add(operator, [g.plane(*shape)], [-1, *shape], **shared), 4)
    return build


def _adaptive(g: _Graph) -> None:
    g.largest(g.add("adaptive_avg_pool2d", [g.plane(16, 1, 65535)], [-1, 16, 65535, 1], output_size=[65535, 1]), 4)


def _padded(g: _Graph) -> None:
    geometry: dict[str, Any] = {"stride": [65535] * 2, "padding": [65535] * 2, "dilation": [1, 1], "groups": 1}
    inputs: list[Any] = [g.plane(1, 1, 1), g.full(1, 1, 1, 1), None]
    g.largest(g.add("conv2d", inputs, [-1, 1, 3, 3], **geometry), 4)


def _transposed(g: _Graph) -> None:
    geometry: dict[str, Any] = {
        "stride": [65535] * 2, "padding": [0, 0], "output_padding": [0, 0], "dilation": [1, 1], "groups": 1,
    }
    inputs: list[Any] = [g.plane(1, 1, 1), g.full(1, 1, 2, 2), None]
    g.largest(g.add("conv_transpose2d", inputs, [-1, 1, 2, 2], **geometry), 4)


def _cat(count: int, size: int) -> Callable[[_Graph], None]:
    return lambda g: g.largest(g.add("cat", [g.plane(size)] * count, [-1, count * size], dim=1), 2)


def _chain(operator: str, count: int, *sizes: int) -> Callable[[_Graph], None]:
    def build(g: _Graph) -> None:
        x = g.plane(*sizes)
        for _ in range(count):
            x = g.add(operator, [x], [-1, *sizes])
        g.largest(x, 1 + len(sizes))
    return build


def _roundings(count: int) -> Callable[[_Graph], None]:
    """Integers and reals in turn."""
    def build(g: _Graph) -> None:
        x = g.one
        for _ in range(count):
            for word, dtype, more in (("quantize", "uint8", {"quant_min": 0, "quant_max": 255}), ("dequantize", "float32", {})):
                x = g.add("x", [x], [-1, 1], dtype=dtype, scale=0.5, zero_point=3, **more)
                g.nodes[-1]["operator"] = f"quantized_decomposed.{word}_per_tensor"
        g.largest(x, 2)
    return build


def _tables(g: _Graph) -> None:
    tables = [g.full(4096, 4096) for _ in range(20)]
    g.largest(g.add("add", [g.plane(4096, 4096), tables[-1]], [-1, 4096, 4096]), 3)


def _alive(g: _Graph) -> None:
    values = [g.add("exp", [g.plane(4096, 4096)], [-1, 4096, 4096]) for _ in range(20)]
    x = values[0]
    for value in values[1:]:
        x = g.add("add", [x, value], [-1, 4096, 4096])
    g.largest(x, 3)


def _square(*more: int) -> Callable[[_Graph], None]:
    """A value for each pair of images, or more than one."""
    def build(g: _Graph) -> None:
        row = g.add("permute", [g.one], [1, -1], dims=[1, 0])
        pairs = g.add("view", [g.add("matmul", [g.one, row], [-1, -1])], [-1, -1, 1])
        g.largest(g.add("expand", [pairs], [-1, -1, *more]), 3)
    return build


def _attention(g: _Graph) -> None:
    heads = g.add("expand", [g.add("view", [g.one], [1, -1, 1])], [2**14, -1, 1])
    inputs: list[Any] = [heads, heads, heads, None]
    found = g.add("scaled_dot_product_attention", inputs, [2**14, -1, 1], is_causal=False, scale=None)
    g.add("amax", [found], [-1, 1], dim=[0], keepdim=False)


COSTLY: dict[str, tuple[Change, str]] = {
    name: (_change(build), reason) for name, (build, reason) in {
        "a hundred large products": (_products, "multiply-accumulates an image"),
        "a large product of weights": (_fixed_product, "multiply-accumulates with weights alone"),
        "a pool of wide windows": (_windows("max_pool2d", (64, 256, 256), 255, dilation=[1, 1]), "values that pools read"),
        "an average of wide windows": (_windows("avg_pool2d", (1, 2047, 2047), 2047, count_include_pad=True), "that pools read"),
        "windows as wide as a row": (_adaptive, "values that pools read"),
        "a window around one pixel": (_windows("max_pool2d", (1, 1, 1), 65535, dilation=[1, 1]), "bytes an image at once"),
        "a margin wider than a screen": (_padded, "bytes an image at once"),
        "a transposed convolution of a long stride": (_transposed, "stride to be at most"),
        "a row of a hundred thousand": (_cat(100_000, 1), "inputs of one"),
        "rows too long": (_cat(500, 2**18), "sizes from 1 to"),
        "more nodes than a network": (_chain("relu", 9000, 1), "nodes: expected at most"),
        "large values without an end": (_chain("tanh", 2000, 4096, 4096), "bytes moved"),
        "roundings of roundings": (_roundings(300), "roundings without a layer"),
        "large tables": (_tables, "bytes of weights"),
        "large values at once": (_alive, "bytes an image at once"),
        "many values for each pair of images": (_square(2**17), "values for 512 images"),
        "many scores for each pair of images": (_attention, "bytes an image at once"),
    }.items()
}
"""By what they ask for: the change of a graph, and what the refusal names."""

MOVED: dict[str, Change] = {
    name: _change(build) for name, build in {
        "a few values for each pair of images": _square(3), "a row of hundreds": _cat(500, 8),
        "many nodes": _chain("relu", 1000, 1), "a hundred roundings": _roundings(100),
        "windows as wide as a small plane": _windows("max_pool2d", (4, 32, 32), 31, dilation=[1, 1]),
    }.items()
}
"""Like these, but no more than a network may ask for."""
