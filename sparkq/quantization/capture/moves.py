"""Converters of what puts values elsewhere."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparkq.program.types import Attribute
from sparkq.quantization.capture.arithmetic import as_dims
from sparkq.quantization.capture.recorder import Bound, Converter
from sparkq.quantization.capture.tape import Tape

__all__ = ["MOVES"]


def _moved(tape: Tape, source: Tensor) -> str:
    """Value that a move reads: integers that are no quantized tensor move as they are."""
    return tape.real(source)


def _view(tape: Tape, call: Bound, result: Any) -> None:
    source = call["self"]
    if source.shape == result.shape:
        tape.alias(result, source)
    else:
        tape.give(result, "aten.view", (_moved(tape, source),))


def _expand(tape: Tape, call: Bound, result: Any) -> None:
    source = call["self"]
    if source.shape == result.shape:
        tape.alias(result, source)
    else:
        tape.give(result, "aten.expand", (_moved(tape, source),))


def _permuted(tape: Tape, source: Tensor, result: Tensor, dims: Sequence[int]) -> None:
    if list(dims) == list(range(source.ndim)):
        tape.alias(result, source)
    else:
        tape.give(result, "aten.permute", (_moved(tape, source),), {"dims": tuple(dims)})


def _permute(tape: Tape, call: Bound, result: Any) -> None:
    source = call["self"]
    _permuted(tape, source, result, as_dims(call["dims"], source.ndim))


def _transpose(tape: Tape, call: Bound, result: Any) -> None:
    source = call["self"]
    dims = list(range(source.ndim))
    first, second = (int(call[name]) % source.ndim for name in ("dim0", "dim1"))
    dims[first], dims[second] = second, first
    _permuted(tape, source, result, dims)


def _t(tape: Tape, call: Bound, result: Any) -> None:
    source = call["self"]
    _permuted(tape, source, result, list(range(source.ndim))[::-1])


def _movedim(tape: Tape, call: Bound, result: Any) -> None:
    source = call["self"]
    moved, places = (as_dims(call[name], source.ndim) for name in ("source", "destination"))
    order = [dim for dim in range(source.ndim) if dim not in moved]
    for place, dim in sorted(zip(places, moved, strict=True)):
        order.insert(place, dim)
    _permuted(tape, source, result, order)


def _sliced(tape: Tape, source: Tensor, result: Tensor, dim: int, start: int, end: int, step: int = 1) -> None:
    size = source.shape[dim]
    if (start, step) == (0, 1) and end >= size:
        tape.alias(result, source)
        return
    attributes: dict[str, Attribute] = {"dim": dim, "start": start, "end": min(end, size), "step": step}
    tape.give(result, "aten.slice", (_moved(tape, source),), attributes)


def _slice(tape: Tape, call: Bound, result: Any) -> None:
    source = call["self"]
    dim, step = int(call["dim"]) % source.ndim, int(call["step"])
    start, end, _ = slice(call.get("start"), call.get("end")).indices(source.shape[dim])
    _sliced(tape, source, result, dim, start, max(end, start), step)


def _narrow(tape: Tape, call: Bound, result: Any) -> None:
    source = call["self"]
    dim, start = int(call["dim"]) % source.ndim, int(call["start"])
    start = start + source.shape[dim] if start < 0 else start
    _sliced(tape, source, result, dim, start, start + int(call["length"]))


def _pieces(tape: Tape, call: Bound, result: Any) -> None:
    """Pieces of a dimension, one after the other."""
    source = call["self"]
    dim, start = int(call.get("dim", 0)) % source.ndim, 0
    for piece in result:
        _sliced(tape, source, piece, dim, start, start + piece.shape[dim])
        start += piece.shape[dim]


def _select(tape: Tape, call: Bound, result: Any) -> None:
    source = call["self"]
    dim = int(call["dim"]) % source.ndim
    attributes: dict[str, Attribute] = {"dim": dim, "index": int(call["index"]) % source.shape[dim]}
    tape.give(result, "aten.select", (_moved(tape, source),), attributes)


def _unbind(tape: Tape, call: Bound, result: Any) -> None:
    source = call["self"]
    dim = int(call["dim"]) % source.ndim
    for index, row in enumerate(result):
        tape.give(row, "aten.select", (_moved(tape, source),), {"dim": dim, "index": index})


def _cat(tape: Tape, call: Bound, result: Any) -> None:
    tensors = [tensor for tensor in call["tensors"] if tensor.numel()]
    names = tuple(tape.real(tensor) for tensor in tensors)
    tape.give(result, "aten.cat", names, {"dim": int(call["dim"]) % result.ndim})


def _stack(tape: Tape, call: Bound, result: Any) -> None:
    dim, rows = int(call["dim"]) % result.ndim, []
    for tensor in call["tensors"]:
        row = tensor.unsqueeze(dim)
        tape.give(row, "aten.view", (tape.real(tensor),))
        rows.append(tape.real(row))
    tape.give(result, "aten.cat", rows, {"dim": dim})


def _flip(tape: Tape, call: Bound, result: Any) -> None:
    source = call["self"]
    tape.give(result, "aten.flip", (_moved(tape, source),), {"dims": as_dims(call["dims"], source.ndim)})


def _roll(tape: Tape, call: Bound, result: Any) -> None:
    source = call["self"]
    if not call["dims"]:
        raise NotImplementedError("roll without dims")
    current = source
    for shift, dim in zip(call["shifts"], as_dims(call["dims"], source.ndim), strict=True):
        size = source.shape[dim]
        place = (size - int(shift)) % size
        if place:
            behind, before = current.narrow(dim, place, size - place), current.narrow(dim, 0, place)
            _sliced(tape, current, behind, dim, place, size)
            _sliced(tape, current, before, dim, 0, place)
            rolled = torch.cat([behind, before], dim)
            tape.give(rolled, "aten.cat", (tape.real(behind), tape.real(before)), {"dim": dim})
            current = rolled
    tape.alias(result, current)


def _repeat(tape: Tape, call: Bound, result: Any) -> None:
    source, repeats = call["self"], [int(count) for count in call.get("repeats", call.get("dims"))]
    current = source.view(*[1] * (len(repeats) - source.ndim), *source.shape)
    if current.ndim > source.ndim:
        tape.give(current, "aten.view", (_moved(tape, source),))
    else:
        tape.alias(current, source)
    for dim, count in enumerate(repeats):
        if count > 1:
            repeated = torch.cat([current] * count, dim)
            tape.give(repeated, "aten.cat", (tape.real(current),) * count, {"dim": dim})
            current = repeated
    tape.alias(result, current)


def _pad(tape: Tape, call: Bound, result: Any) -> None:
    _padded(tape, call, result, str(call.get("mode", "constant")))


def _padded(tape: Tape, call: Bound, result: Tensor, mode: str) -> None:
    numbers = tuple(int(number) for number in (call["pad"] if "pad" in call.arguments else call["padding"]))
    if not any(numbers):
        tape.alias(result, call["self"])
        return
    if mode not in ("constant", "reflect", "replicate"):
        raise NotImplementedError(f"padding of mode {mode}")
    tape.give(result, "aten.pad", (call.real("self"),), {"pad": numbers, "mode": mode, "value": float(call.get("value", 0.0))})


def _reflection(tape: Tape, call: Bound, result: Any) -> None:
    _padded(tape, call, result, "reflect")


def _replication(tape: Tape, call: Bound, result: Any) -> None:
    _padded(tape, call, result, "replicate")


def _index_select(tape: Tape, call: Bound, result: Any) -> None:
    source, index = call["self"], call["index"]
    _taken(tape, source, result, int(call["dim"]) % source.ndim, index)


def _index(tape: Tape, call: Bound, result: Any) -> None:
    """One tensor of row numbers that does not depend on the images, in one dimension."""
    source, given = call["self"], list(call["indices"])
    chosen = [(dim, index) for dim, index in enumerate(given) if index is not None]
    if len(chosen) != 1 or chosen[0][1].dtype != torch.int64 or tape.knows(chosen[0][1]):
        raise NotImplementedError("indexing by tensors that depend on the image, or by several")
    dim, index = chosen[0]
    flat = index.reshape(-1)
    taken = source.index_select(dim, flat)
    _taken(tape, source, taken, dim, flat)
    if taken.shape == result.shape:
        tape.alias(result, taken)
    else:
        tape.give(result, "aten.view", (tape.real(taken),))


def _taken(tape: Tape, source: Tensor, result: Tensor, dim: int, index: Tensor) -> None:
    if tape.knows(index):
        raise NotImplementedError("indexing by a tensor that depends on the image")
    rows = index.reshape(-1).numpy() % source.shape[dim]
    name = tape.constant(np.asarray(rows, np.int64), "rows")
    tape.give(result, "aten.index_select", (_moved(tape, source), name), {"dim": dim})


MOVES: dict[str, Converter] = {
    **dict.fromkeys(
        "view reshape flatten unflatten squeeze unsqueeze _unsafe_view reshape_as view_as _reshape_alias".split(), _view,
    ),
    **dict.fromkeys(("expand", "expand_as", "broadcast_to"), _expand),
    "permute": _permute, "transpose": _transpose, "t": _t, "movedim": _movedim,
    "slice": _slice, "narrow": _narrow, "select": _select, "unbind": _unbind,
    **dict.fromkeys(("split", "split_with_sizes", "chunk", "tensor_split", "unsafe_split", "unsafe_chunk"), _pieces),
    "cat": _cat, "concat": _cat, "concatenate": _cat, "stack": _stack, "flip": _flip, "roll": _roll, "repeat": _repeat,
    "pad": _pad, "constant_pad_nd": _pad, "reflection_pad2d": _reflection, "replication_pad2d": _replication,
    "index_select": _index_select, "index": _index,
}
"""Converters by the name of an ATen operator."""
