"""Types of what works on planes: pooling, resizing and padding."""
from __future__ import annotations

from sparkq.program.shapes.call import Call, Result, expect, positive

__all__ = ["pad", "pool", "resized"]


def pool(call: Call) -> Result:
    """[N, C, H, W] to [N, C, H', W'] in windows."""
    shape = call.tensor(0)
    expect(len(shape) == 4, "a tensor [N, C, H, W]")
    kernel, stride, padding = (call.ints(name, 2, least) for name, least in (("kernel_size", 1), ("stride", 1), ("padding", 0)))
    dilation = call.ints("dilation", 2, 1) if "dilation" in call.attributes else (1, 1)
    expect(all(2 * padding[axis] <= kernel[axis] for axis in (0, 1)), "padding of at most half the kernel")
    sizes = tuple(
        _windows(shape[2 + axis], kernel[axis], stride[axis], padding[axis], dilation[axis], bool(call.number("ceil_mode")))
        for axis in (0, 1)
    )
    return "float32", (*shape[:2], *positive(sizes))


def _windows(size: int, kernel: int, stride: int, padding: int, dilation: int, rounds_up: bool) -> int:
    room = size + 2 * padding - dilation * (kernel - 1) - 1
    expect(room >= 0, "windows that fit into the planes")
    count = (room + (stride - 1 if rounds_up else 0)) // stride + 1
    # A last window that would begin behind the values is left out.
    return count - 1 if rounds_up and (count - 1) * stride >= size + padding else count


def resized(call: Call) -> Result:
    """[N, C, H, W] to [N, C, *output_size]."""
    shape = call.tensor(0)
    expect(len(shape) == 4, "a tensor [N, C, H, W]")
    return "float32", (*shape[:2], *call.ints("output_size", 2, 1))


def pad(call: Call) -> Result:
    """Values before and after those of the last dimensions; negative counts take some away.

    ``pad`` names two numbers a dimension, from the last one on, as in torch.
    """
    shape = call.tensor(0)
    numbers = call.number("pad")
    expect(len(numbers) % 2 == 0 and len(numbers) <= 2 * len(shape), "two numbers for each padded dimension")
    if call.number("mode") != "constant":
        # torch has these for rows, planes and volumes of channels.
        expect(2 <= len(numbers) <= 6 and len(shape) - len(numbers) // 2 in (1, 2), "all dimensions behind the channels padded")
    sizes = list(shape)
    for place in range(len(numbers) // 2):
        dim, (before, after) = len(shape) - 1 - place, numbers[2 * place:2 * place + 2]
        if call.number("mode") != "constant":
            expect(before >= 0 and after >= 0, f"no negative padding in mode {call.number('mode')}")
        if call.number("mode") == "reflect":
            expect(max(before, after) < shape[dim], "less padding than there are values")
        expect(min(before, 0) + min(after, 0) > -shape[dim], "a value that is left")
        sizes[dim] += before + after
    return "float32", positive(tuple(sizes))
