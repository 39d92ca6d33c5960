"""The interpreter is the meaning of a program: operator by operator what torch computes in double precision."""
from __future__ import annotations

import tracemalloc
from collections.abc import Mapping

import numpy as np
import pytest

from sparkq.program.interpreter import KERNELS, interpret, interpret_values
from sparkq.program.operators import OPERATORS
from sparkq.program.types import INPUT, Array, Attribute, Node, Program, ValueType
from sparkq.program.validate import check_program
from tests.program.cases import CASES, Case
from tests.program.samples import IMAGE


def test_every_operator_has_a_kernel_and_a_case() -> None:
    """The list is closed on all sides."""
    assert KERNELS.keys() == OPERATORS.keys() == {case.operator for case in CASES.values()}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_an_operator_computes_what_torch_does(case: Case) -> None:
    """To the last digits of double precision, in shape and in kind."""
    expected = case.answer()
    program = case.program()
    result = interpret_values(program, IMAGE, ["result"])["result"]
    assert result.shape == expected.shape == program.types()["result"].shape
    assert result.dtype == expected.dtype
    np.testing.assert_allclose(result.astype(np.float64), expected.astype(np.float64), rtol=1e-10, atol=1e-12)


def _layer(constants: Mapping[str, Array]) -> Program:
    """A convolution in INT8: scale 0.5 and zero point 3 before it, scale 0.37 behind its ReLU."""
    planes, real = ValueType("float32", (-1, 4, 5, 6)), ValueType("float32", (-1, 3, 5, 6))
    conv: dict[str, Attribute] = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
    first: dict[str, Attribute] = {"scale": 0.5, "zero_point": 3}
    second: dict[str, Attribute] = {"scale": 0.37, "zero_point": 0}
    levels: dict[str, Attribute] = {"quant_min": 0, "quant_max": 255}
    program = Program(ValueType("uint8", (-1, 5, 6, 3)), constants, (
        Node("pixels", "aten.permute", (INPUT,), {"dims": (0, 3, 1, 2)}, ValueType("uint8", (-1, 3, 5, 6))),
        Node("real", "quantized_decomposed.dequantize_per_tensor", ("pixels",), first, real),
        Node(
            "kernels", "quantized_decomposed.dequantize_per_channel", ("weight", "scales", "zeros"), {"axis": 0},
            ValueType("float32", (4, 3, 3, 3)),
        ),
        Node("conv", "aten.conv2d", ("real", "kernels", "bias"), conv, planes),
        Node("relu", "aten.relu", ("conv",), {}, planes),
        Node(
            "rounded", "quantized_decomposed.quantize_per_tensor", ("relu",), {**second, **levels},
            ValueType("uint8", planes.shape),
        ),
        Node("again", "quantized_decomposed.dequantize_per_tensor", ("rounded",), second, planes),
        Node("flat", "aten.view", ("again",), {}, ValueType("float32", (-1, 120))),
    ), "flat")
    check_program(program)
    return program


def test_a_layer_of_integers_is_exact() -> None:
    """Dequantize, convolution, ReLU, quantize: the integers that whole-number arithmetic gives, written out.

    Padding is the real number 0, so the zero point in integers.
    """
    random = np.random.default_rng(0)
    weight = random.integers(-127, 128, (4, 3, 3, 3), dtype=np.int8)
    bias, scales = random.normal(size=4).astype(np.float32), random.uniform(0.001, 0.01, 4)
    program = _layer({"weight": weight, "scales": scales, "zeros": np.zeros(4, np.int64), "bias": bias})
    images = random.integers(0, 256, (7, 5, 6, 3), dtype=np.uint8)
    padded = np.pad(images.astype(np.int64) - 3, ((0, 0), (1, 1), (1, 1), (0, 0)))
    sums = np.sum([
        np.einsum("nhwc,oc->nohw", padded[:, row:row + 5, column:column + 6], weight[:, :, row, column].astype(np.int64))
        for row in range(3) for column in range(3)
    ], axis=0)
    shape = (1, 4, 1, 1)
    exact = (sums * scales.reshape(shape) * 0.5 + bias.reshape(shape)) / 0.37
    expected = np.clip(np.rint(np.maximum(exact, 0)), 0, 255).astype(np.uint8)
    assert np.array_equal(interpret_values(program, images, ["rounded"])["rounded"], expected)
    assert np.ptp(expected) > 100
    np.testing.assert_allclose(interpret(program, images), expected.reshape(7, 120) * 0.37, rtol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_sizes_follow_the_number_of_images(count: int) -> None:
    """What takes its shape from its type: a view of rows, rows repeated, and rows of one number."""
    rows = ValueType("float32", (-4, 3))
    program = Program(ValueType("uint8", (-1, 2, 2, 3)), {"row": np.array([[1, 2, 3]], np.float32)}, (
        Node("real", "aten._to_copy", (INPUT,), {}, ValueType("float32", (-1, 2, 2, 3))),
        Node("rows", "aten.view", ("real",), {}, rows),
        Node("repeated", "aten.expand", ("row",), {}, rows),
        Node("constant", "aten.full", (), {"value": 0.5}, rows),
        Node("sum", "aten.add", ("rows", "repeated"), {}, rows),
        Node("product", "aten.mul", ("sum", "constant"), {}, rows),
        Node("flat", "aten.view", ("product",), {}, ValueType("float32", (-1, 12))),
    ), "flat")
    check_program(program)
    images = np.random.default_rng(0).integers(0, 256, (count, 2, 2, 3), dtype=np.uint8)
    result = interpret(program, images)
    assert result.dtype == np.float32
    assert np.array_equal(result, ((images.reshape(-1, 3) + [1.0, 2, 3]) / 2).reshape(count, 12))


def test_values_go_when_nothing_reads_them() -> None:
    """A chain of fifty steps takes the memory of a few values, not of fifty."""
    plane = ValueType("float32", (-1, 64, 64, 3))
    first = Node("n0", "aten._to_copy", (INPUT,), {}, plane)
    chain = [Node(f"n{step}", "aten.add", (f"n{step - 1}", 1.0), {}, plane) for step in range(1, 50)]
    flat = Node("flat", "aten.view", ("n49",), {}, ValueType("float32", (-1, 64 * 64 * 3)))
    program = Program(ValueType("uint8", (-1, 64, 64, 3)), {}, (first, *chain, flat), "flat")
    check_program(program)
    images = np.full((2, 64, 64, 3), 7, np.uint8)
    tracemalloc.start()
    try:
        result = interpret(program, images)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert np.all(result == 56)
    assert images.size * 8 < peak < 5 * images.size * 8
