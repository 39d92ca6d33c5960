"""The interpreter is the meaning of a program: operator by operator what torch computes in double precision."""
from __future__ import annotations

import numpy as np
import pytest

from sparkq.program.interpreter import KERNELS, interpret, interpret_values
from sparkq.program.operators import OPERATORS
from sparkq.program.types import INPUT, Attribute, Node, Program, ValueType
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


def test_a_layer_of_integers_is_exact() -> None:
    """Dequantize, convolution, ReLU, quantize: the integers that whole-number arithmetic gives, written out."""
    random = np.random.default_rng(0)
    weight = random.integers(-127, 128, (4, 3, 1, 1), dtype=np.int8)
    bias = random.normal(size=4).astype(np.float32)
    scales = random.uniform(0.001, 0.01, 4)
    planes, real = ValueType("float32", (-1, 4, 5, 6)), ValueType("float32", (-1, 3, 5, 6))
    conv: dict[str, Attribute] = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}
    first: dict[str, Attribute] = {"scale": 0.5, "zero_point": 3}
    second: dict[str, Attribute] = {"scale": 0.11, "zero_point": 0}
    levels: dict[str, Attribute] = {"quant_min": 0, "quant_max": 255}
    program = Program(
        ValueType("uint8", (-1, 5, 6, 3)), {"weight": weight, "scales": scales, "zeros": np.zeros(4, np.int64), "bias": bias},
        (
            Node("pixels", "aten.permute", (INPUT,), {"dims": (0, 3, 1, 2)}, ValueType("uint8", (-1, 3, 5, 6))),
            Node("real", "quantized_decomposed.dequantize_per_tensor", ("pixels",), first, real),
            Node(
                "kernels", "quantized_decomposed.dequantize_per_channel", ("weight", "scales", "zeros"), {"axis": 0},
                ValueType("float32", (4, 3, 1, 1)),
            ),
            Node("conv", "aten.conv2d", ("real", "kernels", "bias"), conv, planes),
            Node("relu", "aten.relu", ("conv",), {}, planes),
            Node(
                "rounded", "quantized_decomposed.quantize_per_tensor", ("relu",), {**second, **levels},
                ValueType("uint8", planes.shape),
            ),
            Node("again", "quantized_decomposed.dequantize_per_tensor", ("rounded",), second, planes),
            Node("flat", "aten.view", ("again",), {}, ValueType("float32", (-1, 120))),
        ),
        "flat",
    )
    check_program(program)
    images = random.integers(0, 256, (7, 5, 6, 3), dtype=np.uint8)
    sums = np.einsum("nhwc,oc->nohw", images.astype(np.int64) - 3, weight[:, :, 0, 0].astype(np.int64))
    shape = (1, 4, 1, 1)
    exact = (sums * scales.reshape(shape) * 0.5 + bias.reshape(shape)) / 0.11
    expected = np.clip(np.rint(np.maximum(exact, 0)), 0, 255).astype(np.uint8)
    assert np.array_equal(interpret_values(program, images, ["rounded"])["rounded"], expected)
    assert np.ptp(expected) > 100
    np.testing.assert_allclose(interpret(program, images), expected.reshape(7, 120) * 0.11, rtol=1e-6)
