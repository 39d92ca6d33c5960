"""Types of pools, resizing and padding: what torch gives for any sizes and attributes, and a refusal where torch refuses."""
from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from tests.program.shapes.agreement import Given, agreed, inferred


def _pairs(least: int, most: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(least, most), st.integers(least, most))


@settings(deadline=None, max_examples=500)
@given(_pairs(1, 12), _pairs(1, 6), _pairs(1, 5), _pairs(0, 3), _pairs(1, 3), st.booleans(), st.booleans())
def test_pools(
    size: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int], dilation: tuple[int, int],
    ceil_mode: bool, counted: bool,
) -> None:
    """Also where the last window hangs over, or would begin behind the plane."""
    shared: dict[str, Any] = {"kernel_size": kernel, "stride": stride, "padding": padding, "ceil_mode": ceil_mode}
    inputs: list[Given] = [("float32", (2, 3, *size))]
    average, largest = {**shared, "count_include_pad": counted}, {**shared, "dilation": dilation}
    # With ceil_mode torch has pools of kernels larger than the padded plane.
    fits = all(
        size[axis] + 2 * padding[axis] >= (dilation[axis] if kind else 1) * (kernel[axis] - 1) + 1
        for axis in (0, 1) for kind in (0, 1)
    )
    agreed("aten.avg_pool2d", inputs, average, lambda x: F.avg_pool2d(x, **average), strict=not fits)
    # It has windows of which the padding is more than half as well, where they are dilated.
    small = all(2 * padding[axis] <= kernel[axis] for axis in (0, 1))
    agreed("aten.max_pool2d", inputs, largest, lambda x: F.max_pool2d(x, **largest), strict=not (fits and small))


@settings(deadline=None, max_examples=200)
@given(st.lists(st.integers(1, 5), min_size=3, max_size=5).map(tuple), _pairs(0, 9), st.booleans())
def test_resizing(shape: tuple[int, ...], size: tuple[int, int], corners: bool) -> None:
    """Planes of channels of images, and no size of zero."""
    inputs: list[Given] = [("float32", shape)]
    attributes: dict[str, Any] = {"output_size": size}
    planes = len(shape) == 4
    agreed("aten.adaptive_avg_pool2d", inputs, attributes, lambda x: F.adaptive_avg_pool2d(x, size), strict=not planes)
    agreed("aten.upsample_nearest2d", inputs, attributes, lambda x: F.interpolate(x, size, mode="nearest"))
    agreed(
        "aten.upsample_bilinear2d", inputs, {**attributes, "align_corners": corners},
        lambda x: F.interpolate(x, size, mode="bilinear", align_corners=corners),
    )


@settings(deadline=None, max_examples=600)
@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=5).map(tuple), st.lists(st.integers(-3, 5), max_size=8).map(tuple),
    st.sampled_from(["constant", "reflect", "replicate"]),
)
def test_pad(shape: tuple[int, ...], numbers: tuple[int, ...], mode: str) -> None:
    """Two numbers a dimension, from the last one on; negative ones take away, but not every value, and none in other modes."""
    torch_s: Any = (lambda x: F.pad(x, numbers, mode=mode)) if mode != "constant" else lambda x: F.pad(x, numbers, value=0.5)
    taken = [-min(before, 0) - min(after, 0) for before, after in zip(numbers[::2], numbers[1::2], strict=False)]
    nothing_left = any(count >= size for count, size in zip(taken, shape[::-1], strict=False))
    agreed(
        "aten.pad", [("float32", shape)], {"pad": numbers, "mode": mode, "value": 0.5}, torch_s,
        strict=nothing_left or mode != "constant" and min(numbers, default=-1) < 0,
    )


@pytest.mark.parametrize("size", [(2**16, 1), (2**31 - 1, 2**31 - 1)], ids=str)
@pytest.mark.parametrize("operator", ["adaptive_avg_pool2d", "upsample_nearest2d"])
def test_planes_without_an_end(operator: str, size: tuple[int, int]) -> None:
    """A few bytes cannot ask for them."""
    assert inferred(f"aten.{operator}", [("float32", (1, 1, 2, 2))], {"output_size": size}) is None
