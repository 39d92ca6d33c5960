"""Writers of what works on planes, and of what puts values elsewhere."""
from __future__ import annotations

from typing import Any

import numpy as np

from sparkq.export.onnx.graph import Graph, Writer
from sparkq.program.types import Node

__all__ = ["MOVES"]

_LAST = 2**62


def _x(graph: Graph, node: Node) -> str:
    return graph.value(node.inputs[0])


def _windows(node: Node) -> dict[str, Any]:
    return {
        "kernel_shape": node.attribute("kernel_size"), "strides": node.attribute("stride"),
        "pads": [*node.attribute("padding")] * 2, "ceil_mode": int(node.attribute("ceil_mode")),
    }


def _max_pool2d(graph: Graph, node: Node) -> None:
    graph.add("MaxPool", [_x(graph, node)], node.name, **_windows(node), dilations=node.attribute("dilation"))


def _avg_pool2d(graph: Graph, node: Node) -> None:
    counted = int(node.attribute("count_include_pad"))
    graph.add("AveragePool", [_x(graph, node)], node.name, **_windows(node), count_include_pad=counted)


def _adaptive_avg_pool2d(graph: Graph, node: Node) -> None:
    """Means of windows of different sizes: products with a matrix of their shares from either side."""
    outputs = node.attribute("output_size")
    if outputs == (1, 1):
        graph.add("GlobalAveragePool", [_x(graph, node)], node.name)
        return
    sizes = graph.fixed(node, 0, 2, 3)
    rows, columns = (_shares(size, count) for size, count in zip(sizes, outputs, strict=True))
    graph.add("MatMul", [graph.add("MatMul", [graph.constant(rows), _x(graph, node)]), graph.constant(columns.T)], node.name)


def _shares(size: int, count: int) -> Any:
    shares = np.zeros((count, size), np.float32)
    for row in range(count):
        window = slice(row * size // count, -(-(row + 1) * size // count))
        shares[row, window] = 1 / (window.stop - window.start)
    return shares


def _upsample_bilinear2d(graph: Graph, node: Node) -> None:
    how = "align_corners" if node.attribute("align_corners") else "half_pixel"
    _resize(graph, node, mode="linear", coordinate_transformation_mode=how)


def _resize(graph: Graph, node: Node, **how: str) -> None:
    graph.add("Resize", [_x(graph, node), "", "", graph.integers(*node.attribute("output_size"))], node.name, axes=[2, 3], **how)


def _upsample_nearest2d(graph: Graph, node: Node) -> None:
    """Resize where sizes are multiplied by powers of two, which runtimes cannot round; else the rows that torch takes."""
    outputs, sizes = node.attribute("output_size"), graph.fixed(node, 0, 2, 3)
    if all(new % old == 0 and (new // old).bit_count() == 1 for new, old in zip(outputs, sizes, strict=True)):
        _resize(graph, node, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")
        return
    rows, columns = (graph.constant(_nearest(old, new)) for new, old in zip(outputs, sizes, strict=True))
    graph.add("Gather", [graph.add("Gather", [_x(graph, node), rows], axis=2), columns], node.name, axis=3)


def _nearest(old: int, new: int) -> Any:
    """Index of the row that each new one repeats: ``floor(i * scale)`` in float32, as ATen's kernels compute it."""
    places = np.floor(np.arange(new, dtype=np.float32) * (np.float32(old) / np.float32(new)))
    return np.minimum(places.astype(np.int64), old - 1)


def _pad(graph: Graph, node: Node) -> None:
    numbers, rank = node.attribute("pad"), len(node.type.shape)
    before, after = [0] * rank, [0] * rank
    for place in range(len(numbers) // 2):
        before[rank - 1 - place], after[rank - 1 - place] = numbers[2 * place:2 * place + 2]
    mode = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}[node.attribute("mode")]
    value = [graph.value(node.attribute("value"))] if mode == "constant" else []
    graph.add("Pad", [_x(graph, node), graph.integers(*before, *after), *value], node.name, mode=mode)


def _cat(graph: Graph, node: Node) -> None:
    graph.add("Concat", [graph.value(given) for given in node.inputs], node.name, axis=node.attribute("dim"))


def _expand(graph: Graph, node: Node) -> None:
    graph.add("Expand", [_x(graph, node), graph.shape(node.type, may_infer=False)], node.name)


def _flip(graph: Graph, node: Node) -> None:
    dims = node.attribute("dims")
    places = [graph.integers(*[number] * len(dims)) for number in (-1, -_LAST)]
    graph.add("Slice", [_x(graph, node), *places, graph.integers(*dims), graph.integers(*[-1] * len(dims))], node.name)


def _full(graph: Graph, node: Node) -> None:
    graph.add("Expand", [graph.value(node.attribute("value")), graph.shape(node.type, may_infer=False)], node.name)


def _index_select(graph: Graph, node: Node) -> None:
    graph.add("Gather", [graph.value(given) for given in node.inputs], node.name, axis=node.attribute("dim"))


def _permute(graph: Graph, node: Node) -> None:
    graph.add("Transpose", [_x(graph, node)], node.name, perm=node.attribute("dims"))


def _select(graph: Graph, node: Node) -> None:
    index = graph.constant(np.int64(node.attribute("index")))
    graph.add("Gather", [_x(graph, node), index], node.name, axis=node.attribute("dim"))


def _slice(graph: Graph, node: Node) -> None:
    numbers = [graph.integers(node.attribute(name)) for name in ("start", "end", "dim", "step")]
    graph.add("Slice", [_x(graph, node), *numbers], node.name)


def _view(graph: Graph, node: Node) -> None:
    graph.add("Reshape", [_x(graph, node), graph.shape(node.type, may_infer=True)], node.name)


MOVES: dict[str, Writer] = {
    f"aten.{name}": write for name, write in {
        "max_pool2d": _max_pool2d, "avg_pool2d": _avg_pool2d, "adaptive_avg_pool2d": _adaptive_avg_pool2d,
        "upsample_bilinear2d": _upsample_bilinear2d, "upsample_nearest2d": _upsample_nearest2d, "pad": _pad, "cat": _cat,
        "expand": _expand, "flip": _flip, "full": _full, "index_select": _index_select, "permute": _permute, "select": _select,
        "slice": _slice, "view": _view,
    }.items()
}
"""By operator."""
