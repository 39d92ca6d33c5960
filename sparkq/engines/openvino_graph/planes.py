"""Converters of what works on planes: pooling and resizing."""
from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sparkq.engines.openvino_graph.call import Call, Converter, integers, number
from sparkq.engines.openvino_graph.library import ops

__all__ = ["PLANES"]

_H_AND_W = (2, 3)


def _adaptive_avg_pool2d(call: Call) -> Any:
    if call["output_size"] == (1, 1):
        return ops.reduce_mean(call.tensor(), integers(_H_AND_W), True)
    return ops.adaptive_avg_pool(call.tensor(), integers(call["output_size"]))


def _padding_behind(call: Call, window: tuple[int, ...]) -> list[int]:
    """Padding with which windows that are counted by rounding down are those of the program.

    One that torch counts by rounding up reaches behind its own padding. OpenVINO has a rounding of this kind as well, but makes
    no INT8 kernels of what comes behind it.
    """
    sizes, counts = call.type().shape[2:], call.node.type.shape[2:]
    ends = ((count - 1) * step + room for count, step, room in zip(counts, call["stride"], window, strict=True))
    return [max(end - size - before, 0) for end, size, before in zip(ends, sizes, call["padding"], strict=True)]


def _avg_pool2d(call: Call) -> Any:
    kernel, strides, padding = (list(call[name]) for name in ("kernel_size", "stride", "padding"))
    x, behind = call.tensor(), _padding_behind(call, call["kernel_size"])
    if not call["count_include_pad"]:
        return ops.avg_pool(x, strides, padding, behind, kernel, True)
    if not any((*padding, *behind)):
        return ops.avg_pool(x, strides, padding, behind, kernel, False)
    # Zeros of its own would be integers that stand for something else, and a window that reaches behind them counts only them.
    padded = ops.pad(x, integers([0, 0, *padding]), integers([0, 0, *padding]), "constant", number(0))
    rest = [max(end - size, 0) for end, size in zip(behind, padding, strict=True)]
    return ops.avg_pool(padded, strides, [0, 0], rest, kernel, True)


def _max_pool2d(call: Call) -> Any:
    kernel, strides, padding, dilations = (list(call[name]) for name in ("kernel_size", "stride", "padding", "dilation"))
    window = tuple(gap * (size - 1) + 1 for gap, size in zip(dilations, kernel, strict=True))
    return ops.max_pool(call.tensor(), strides, dilations, padding, _padding_behind(call, window), kernel).output(0)


def _bilinear(call: Call) -> Any:
    return ops.interpolate(
        call.tensor(), integers(call["output_size"]), "linear_onnx", "sizes",
        coordinate_transformation_mode="align_corners" if call["align_corners"] else "half_pixel", axes=integers(_H_AND_W),
    )


def _nearest(call: Call) -> Any:
    sizes, targets = call.type().shape[2:], call["output_size"]
    rows = [_nearest_rows(size, target) for size, target in zip(sizes, targets, strict=True)]
    factors = [np.arange(target) * size // target for size, target in zip(sizes, targets, strict=True)]
    if all(target % size == 0 for size, target in zip(sizes, targets, strict=True)) and all(map(np.array_equal, rows, factors)):
        return ops.interpolate(
            call.tensor(), integers(targets), "nearest", "sizes", coordinate_transformation_mode="asymmetric",
            nearest_mode="floor", axes=integers(_H_AND_W),
        )
    # By other factors, the two round positions differently: 14 rows to 16, for example.
    result = call.tensor()
    for axis, numbers in zip(_H_AND_W, rows, strict=True):
        result = ops.gather(result, integers(numbers.tolist()), number(axis, np.int64))
    return result


def _nearest_rows(size: int, target: int) -> npt.NDArray[np.int64]:
    """Numbers of the rows that torch takes, whose positions are products in float32 (``UpSample.h``)."""
    positions = np.arange(target, dtype=np.float32) * (np.float32(size) / np.float32(target))
    rows: npt.NDArray[np.int64] = np.minimum(np.floor(positions), size - 1).astype(np.int64)
    return rows


PLANES: dict[str, Converter] = {
    "adaptive_avg_pool2d": _adaptive_avg_pool2d, "avg_pool2d": _avg_pool2d, "max_pool2d": _max_pool2d,
    "upsample_bilinear2d": _bilinear, "upsample_nearest2d": _nearest,
}
"""Converters by an ATen operator's name."""
