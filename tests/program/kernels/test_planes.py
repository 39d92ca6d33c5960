"""Kernels of planes: what torch computes for any windows, sizes and paddings."""
from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from sparkq.program.interpreter import interpret, interpret_values
from sparkq.program.types import INPUT, Array, Attribute, Node, Program, ValueType
from sparkq.program.validate import check_program
from tests.program.cases import Case
from tests.program.kernels.comparing import assert_as_torch
from tests.program.samples import IMAGE, one_operator

_SIZES = st.tuples(st.integers(1, 14), st.integers(1, 14))


def _planes(height: int, width: int) -> Array:
    return np.random.default_rng(height * 100 + width).normal(size=(2, 3, height, width)).astype(np.float32)


@st.composite
def _windows(draw: st.DrawFn, most_dilation: int) -> tuple[tuple[int, ...], ...]:
    """Kernel, stride, padding, dilation and the planes' sizes: padding up to half the kernel, and a window that fits."""
    axes = []
    for _ in range(2):
        kernel, stride, dilation = draw(st.integers(1, 5)), draw(st.integers(1, 6)), draw(st.integers(1, most_dilation))
        padding = draw(st.integers(0, kernel // 2))
        least = max(1, dilation * (kernel - 1) + 1 - 2 * padding)
        axes.append((kernel, stride, padding, dilation, least + draw(st.integers(0, 8))))
    return tuple(zip(*axes, strict=True))


@settings(deadline=None, max_examples=200)
@given(_windows(3), st.booleans())
def test_max_pool2d_of_any_windows(windows: tuple[tuple[int, ...], ...], ceil: bool) -> None:
    """Also where the last window hangs over."""
    kernel, stride, padding, dilation, size = windows
    assert_as_torch(Case(
        "aten.max_pool2d", [_planes(*size)], lambda x: F.max_pool2d(x, kernel, stride, padding, dilation, ceil),
        {"kernel_size": kernel, "stride": stride, "padding": padding, "dilation": dilation, "ceil_mode": ceil},
    ))


@settings(deadline=None, max_examples=200)
@given(_windows(1), st.booleans(), st.booleans())
def test_avg_pool2d_of_any_windows(windows: tuple[tuple[int, ...], ...], ceil: bool, counted: bool) -> None:
    """Padding counts or not; what hangs over beyond the padding never does."""
    kernel, stride, padding, _, size = windows
    assert_as_torch(Case(
        "aten.avg_pool2d", [_planes(*size)], lambda x: F.avg_pool2d(x, kernel, stride, padding, ceil, counted),
        {"kernel_size": kernel, "stride": stride, "padding": padding, "ceil_mode": ceil, "count_include_pad": counted},
    ))


@settings(deadline=None, max_examples=100)
@given(_SIZES, _SIZES)
def test_resizing_to_any_size(size: tuple[int, int], wanted: tuple[int, int]) -> None:
    """Larger and smaller, also from and to a single value."""
    x, attributes = _planes(*size), {"output_size": wanted}
    assert_as_torch(Case("aten.adaptive_avg_pool2d", [x], lambda x: F.adaptive_avg_pool2d(x, wanted), {**attributes}))
    assert_as_torch(Case("aten.upsample_nearest2d", [x], lambda x: F.interpolate(x, wanted, mode="nearest"), {**attributes}))
    for corners in (False, True):
        assert_as_torch(Case(
            "aten.upsample_bilinear2d", [x],
            lambda x, corners=corners: F.interpolate(x, wanted, mode="bilinear", align_corners=corners),
            {**attributes, "align_corners": corners},
        ))


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 160), st.integers(1, 320))
def test_the_nearest_row_is_that_of_single_precision(size: int, wanted: int) -> None:
    """The number of a row is ``floor(i * size / wanted)`` with the quotient in float32: a program's values are float32."""
    x = np.arange(size, dtype=np.float32).reshape(1, 1, size, 1)
    expected = F.interpolate(torch.from_numpy(x), (wanted, 1), mode="nearest").numpy()
    program = one_operator("aten.upsample_nearest2d", [x], {"output_size": (wanted, 1)})
    assert np.array_equal(interpret_values(program, IMAGE, ["result"])["result"], expected)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.integers(-1, 4), st.integers(-1, 4)), min_size=1, max_size=4), st.floats(-9, 9, width=16))
def test_constant_padding_of_any_dimensions(pairs: list[tuple[int, int]], value: float) -> None:
    """From the last dimension on; negative numbers take values away."""
    pad = tuple(number for pair in pairs for number in pair)
    x = np.random.default_rng(0).normal(size=(3, 4, 5, 6)).astype(np.float32)
    assert_as_torch(Case(
        "aten.pad", [x], lambda x: F.pad(x, pad, value=value), {"pad": pad, "mode": "constant", "value": value},
    ))


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(["reflect", "replicate"]), st.tuples(*[st.integers(0, 4)] * 4))
def test_padding_with_values_of_the_planes(mode: str, pad: tuple[int, ...]) -> None:
    """Mirrored at the border, or the border again."""
    assert_as_torch(Case("aten.pad", [_planes(5, 6)], lambda x: F.pad(x, pad, mode), {"pad": pad, "mode": mode, "value": 0.0}))


@pytest.mark.parametrize("value", [np.nan, -np.inf], ids=str)
def test_max_pool2d_of_no_number(value: float) -> None:
    """NaN is the largest, and minus infinity no padding."""
    x = _planes(6, 7)
    x[0, 0, 2, 3] = x[1, 1, :3] = value
    assert_as_torch(Case("aten.max_pool2d", [x], lambda x: F.max_pool2d(x, 3, 2, 1), {
        "kernel_size": (3, 3), "stride": (2, 2), "padding": (1, 1), "dilation": (1, 1), "ceil_mode": False,
    }))


@pytest.mark.parametrize("operator", ["max_pool2d", "avg_pool2d"])
def test_pools_of_planes_as_high_as_there_are_images(operator: str) -> None:
    """A size that grows with the images is one of a plane as well."""
    attributes: dict[str, Attribute] = {"kernel_size": (1, 2), "stride": (1, 1), "padding": (0, 0), "ceil_mode": False}
    attributes |= {"dilation": (1, 1)} if operator == "max_pool2d" else {"count_include_pad": True}
    program = Program(ValueType("uint8", (-1, 2, 2, 3)), {}, (
        Node("real", "aten._to_copy", (INPUT,), {}, ValueType("float32", (-1, 2, 2, 3))),
        Node("turned", "aten.permute", ("real",), {"dims": (3, 1, 0, 2)}, ValueType("float32", (3, 2, -1, 2))),
        Node("pooled", f"aten.{operator}", ("turned",), attributes, ValueType("float32", (3, 2, -1, 1))),
        Node("back", "aten.permute", ("pooled",), {"dims": (2, 0, 1, 3)}, ValueType("float32", (-1, 3, 2, 1))),
        Node("flat", "aten.view", ("back",), {}, ValueType("float32", (-1, 6))),
    ), "flat")
    check_program(program)
    images = np.random.default_rng(0).integers(0, 256, (5, 2, 2, 3), dtype=np.uint8)
    turned = torch.from_numpy(images).float().permute(3, 1, 0, 2)
    pooled = F.max_pool2d(turned, (1, 2), 1) if operator == "max_pool2d" else F.avg_pool2d(turned, (1, 2), 1)
    assert np.array_equal(interpret(program, images), pooled.permute(2, 0, 1, 3).reshape(5, 6).numpy())
