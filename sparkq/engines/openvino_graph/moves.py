"""Converters of what puts values elsewhere."""
from __future__ import annotations

from typing import Any

import numpy as np

from sparkq.engines.openvino_graph.call import Call, Converter, integers, number
from sparkq.engines.openvino_graph.grids import grid_behind, rounded
from sparkq.engines.openvino_graph.library import ops

__all__ = ["MOVES"]

_INT_MIN = -2**31


def _cat(call: Call) -> Any:
    return ops.concat([call.tensor(index) for index in range(len(call.inputs))], call["dim"])


def _flip(call: Call) -> Any:
    result = call.tensor()
    for dim in call["dims"]:
        size = call.type().shape[dim]
        if size > 0:
            # Eight times as fast as a slice of step -1, with which the channels of pixels take as long as the largest layers.
            result = ops.gather(result, integers(range(size - 1, -1, -1)), number(dim, np.int64))
        else:
            result = ops.slice(result, *(integers([value]) for value in (-1, _INT_MIN, -1, dim)))
    return result


def _pad(call: Call) -> Any:
    numbers, rank = call["pad"], len(call.type().shape)
    before, after = [0] * rank, [0] * rank
    for place in range(len(numbers) // 2):
        before[rank - 1 - place], after[rank - 1 - place] = numbers[2 * place:2 * place + 2]
    mode = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}[call["mode"]]
    padded, grid = ops.pad(call.tensor(), integers(before), integers(after), mode, number(call["value"])), grid_behind(call)
    # OpenVINO gives channels that are padded a zero point of their own, and some of its kernels are wrong then.
    return padded if grid is None or grid.zero_point == 0 else rounded(padded, grid)


def _select(call: Call) -> Any:
    return ops.gather(call.tensor(), number(call["index"], np.int64), number(call["dim"], np.int64))


def _slice(call: Call) -> Any:
    return ops.slice(call.tensor(), *(integers([call[name]]) for name in ("start", "end", "step", "dim")))


MOVES: dict[str, Converter] = {
    "cat": _cat,
    "expand": lambda call: ops.broadcast(call.tensor(), call.sizes.of(call.node.type)),
    "flip": _flip,
    "full": lambda call: ops.broadcast(number(call["value"]), call.sizes.of(call.node.type)),
    "index_select": lambda call: ops.gather(call.tensor(0), call.tensor(1), number(call["dim"], np.int64)),
    "pad": _pad,
    "permute": lambda call: ops.transpose(call.tensor(), integers(call["dims"])),
    "select": _select, "slice": _slice,
    "view": lambda call: ops.reshape(call.tensor(), call.sizes.reshaped(call.node.type), False),
}
"""Converters by an ATen operator's name."""
