"""Second moments of a layer's inputs, in the float model and in the INT8 one, summed in integers.

An INT8 layer reads unsigned integers, and 16 bits are enough for what the float layer reads: so products are summed exactly, and
the result does not depend on the machine, on the number of threads or on the size of blocks. Where the processor multiplies 8-bit
integers (VNNI, AMX), that takes a fifth to a thirteenth of the time of double precision.
"""
from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.ao.nn import quantized as nnq

__all__ = ["Moments", "input_moments"]

_POSITIONS = 8192
_POSITIONS_PER_TAP = 16
_SIGNED = 128
# Of the largest value: the high byte then has room for the rounding of the low one.
_FIXED_POINT_LEVELS = 127 * 256
# Products of two signed bytes are at most 2**14; float32 counts to 2**24, int32 to 2**31.
_EXACT_IN_FLOAT32 = 2**10
_EXACT_IN_INT32 = 2**16
_BYTES_AT_ONCE = 2**26
_Layer = nnq.Conv2d | nnq.Linear


@dataclass(frozen=True)
class Moments:
    """Second moments of a layer's inputs in groups, float64: of the float model (`x`) and of the INT8 model (`q`).

    Parameters
    ----------
    mean_x, mean_q : Tensor
        Means, [G, K].
    cross, gram : Tensor
        Central second moments x q' and q q', [G, K, K]; empty where only means were asked for.
    """

    mean_x: Tensor
    mean_q: Tensor
    cross: Tensor
    gram: Tensor


def input_moments(
    layer: _Layer, float_inputs: list[Tensor], inputs: list[Tensor], *, only_means: bool = False,
) -> Moments:
    """Measure the inputs over a sample of the positions that the layer's kernel takes on them.

    Parameters
    ----------
    layer : Conv2d or Linear
        Of an INT8 model; its weight is read as [G, O, K].
    float_inputs : list of Tensor
        What the float layer reads, float32 [N, C, H, W] or [N, ..., K] a batch.
    inputs : list of Tensor
        What `layer` reads, quint8 of the same shapes.
    only_means : bool
        Leave out the second moments, which take nearly all of the time.
    """
    generator = torch.Generator().manual_seed(0)
    images = sum(len(batch) for batch in inputs)
    sums = _Sums(only_means)
    for x, q in zip(float_inputs, inputs, strict=True):
        positions = _positions(layer, x, images, generator, 0 if only_means else _POSITIONS_PER_TAP)
        sums.add(_patches(layer, x, positions, 0), _signed(_patches(layer, q.int_repr(), positions, q.q_zero_point())))
    mean_x, mean_q, *products = (_in_order(layer, mean) for mean in sums.means())
    step, zero_point = inputs[0].q_scale(), inputs[0].q_zero_point()
    real_mean_q = (mean_q + (_SIGNED - zero_point)) * step
    if only_means:
        return Moments(mean_x, real_mean_q, torch.empty(0), torch.empty(0))
    cross, gram = products
    cross -= mean_x[:, :, None] * mean_q[:, None, :]
    gram -= mean_q[:, :, None] * mean_q[:, None, :]
    return Moments(mean_x, real_mean_q, cross.mul_(step), gram.mul_(step**2))


class _Sums:
    """Sums over patches of x, of the signed bytes of q, and of the products x q' and q q'.

    Patches are collected until there are enough of them, since sums [K, K] of few take longer to add up than to compute.
    """

    def __init__(self, only_means: bool) -> None:
        self._only_means = only_means
        self._waiting: list[tuple[Tensor, Tensor, Tensor]] = []
        self._step = 0.0
        self._sums: list[Tensor] = []
        self._count = 0

    def add(self, x: Tensor, q: Tensor) -> None:
        """Take in patches, float32 and int8 [G, P, K]."""
        low, high = torch.aminmax(x)
        # Powers of two, so that most batches share one.
        step = 2.0 ** math.ceil(math.log2(max(-float(low), float(high), 2.0**-40) / _FIXED_POINT_LEVELS))
        rows = sum(part[2].shape[1] for part in self._waiting)
        if self._waiting and (step != self._step or rows + q.shape[1] > _EXACT_IN_INT32 or rows * q.shape[2] > _BYTES_AT_ONCE):
            self._flush()
        self._step = step
        self._waiting.append((*_bytes(x, step), q))

    def means(self) -> list[Tensor]:
        """Means over all patches, float64: [G, K] of x and q, [G, K, K] of the products."""
        self._flush()
        return [total.div_(self._count) for total in self._sums]

    def _flush(self) -> None:
        high, low, right = (parts[0] if len(parts) == 1 else torch.cat(parts, 1) for parts in zip(*self._waiting, strict=True))
        self._waiting = []
        of_x = (256 * high.sum(1, dtype=torch.int64) + low.sum(1, dtype=torch.int64)).double()
        found = [of_x.mul_(self._step), right.sum(1, dtype=torch.int64).double()]
        if not self._only_means:
            cross, gram = _products(high, low, right)
            found += [cross.mul_(self._step), gram]
        self._sums = [total.add_(part) for total, part in zip(self._sums, found, strict=True)] if self._sums else found
        self._count += right.shape[1]


def _bytes(x: Tensor, step: float) -> tuple[Tensor, Tensor]:
    """High and low byte of `x` in multiples of `step`, both signed."""
    fixed = (x.float() * (1 / step)).round_().to(torch.int32)
    high = (fixed + _SIGNED) >> 8
    return high.to(torch.int8), (fixed - 256 * high).to(torch.int8)


def _signed(integers: Tensor) -> Tensor:
    """Unsigned bytes less 128."""
    return (integers ^ _SIGNED).view(torch.int8)


def _products(high: Tensor, low: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """(256 high + low)' right, and right' right, of signed bytes [G, P, K], summed exactly: float64 [G, K, K]."""
    in_integers = len(right) == 1 and torch.cpu._is_vnni_supported()
    multiply, rows = (_integer_product, _EXACT_IN_INT32) if in_integers else (_float_product, _EXACT_IN_FLOAT32)
    cross, gram = torch.zeros(2, len(right), high.shape[2], right.shape[2], dtype=torch.float64)
    for start in range(0, right.shape[1], rows):
        coarse, fine, other = (part[:, start:start + rows] for part in (high, low, right))
        cross += multiply(coarse, other).double().mul_(256).add_(multiply(fine, other))
        gram += multiply(other, other)
    return cross, gram


def _integer_product(left: Tensor, right: Tensor) -> Tensor:
    return torch._int_mm(left[0].mT.contiguous(), right[0].contiguous())[None]


def _float_product(left: Tensor, right: Tensor) -> Tensor:
    return left.float().mT @ right.float()


def _positions(
    layer: _Layer, x: Tensor, images: int, generator: torch.Generator, positions_per_tap: int,
) -> tuple[Tensor, Tensor] | None:
    """Rows and columns of the output, the same for all images of a batch."""
    if isinstance(layer, nnq.Linear):
        return None
    sizes = [
        (x.shape[2 + axis] + 2 * layer.padding[axis] - layer.dilation[axis] * (layer.kernel_size[axis] - 1) - 1)
        // layer.stride[axis] + 1 for axis in (0, 1)
    ]
    taps = layer.in_channels // layer.groups * layer.kernel_size[0] * layer.kernel_size[1]
    wanted = min(max(1, max(_POSITIONS, positions_per_tap * taps) // images), sizes[0] * sizes[1])
    chosen = torch.randperm(sizes[0] * sizes[1], generator=generator)[:wanted]
    return chosen // sizes[1], chosen % sizes[1]


def _patches(layer: _Layer, x: Tensor, positions: tuple[Tensor, Tensor] | None, padding: int) -> Tensor:
    """Gather the inputs that the kernel reads, [G, P, K]; of a convolution K has the taps in front of the channels."""
    if positions is None or isinstance(layer, nnq.Linear):
        return x.reshape(1, -1, x.shape[-1])
    rows, columns = (
        place[:, None] * layer.stride[axis] - layer.padding[axis] + torch.arange(layer.kernel_size[axis]) * layer.dilation[axis]
        for axis, place in enumerate(positions)
    )
    height, width = x.shape[2:]
    outside = (((rows < 0) | (rows >= height))[:, :, None] | ((columns < 0) | (columns >= width))[:, None, :]).flatten()
    places = (rows.clamp(0, height - 1)[:, :, None] * width + columns.clamp(0, width - 1)[:, None, :]).flatten()
    # As the values lie in memory: copying all of them costs more than the sample.
    if x.is_contiguous(memory_format=torch.channels_last):
        taken = x.permute(0, 2, 3, 1).flatten(1, 2).index_select(1, places)
    else:
        taken = x.flatten(2).index_select(2, places).mT.contiguous()
    taken[:, outside] = padding
    samples, channels = len(x) * len(rows), x.shape[1]
    if layer.groups == 1:
        return taken.view(1, samples, -1)
    grouped = taken.view(samples, -1, layer.groups, channels // layer.groups)
    return grouped.permute(2, 0, 1, 3).contiguous().flatten(2)


def _in_order(layer: _Layer, moments: Tensor) -> Tensor:
    """Moments [G, K] or [G, K, K] with K in the order of the flattened weight: channels in front of taps."""
    if isinstance(layer, nnq.Linear):
        return moments
    taps = layer.kernel_size[0] * layer.kernel_size[1]
    order = torch.arange(moments.shape[1]).view(taps, -1).T.flatten()
    return moments[:, order] if moments.ndim == 2 else moments[:, order][:, :, order]
