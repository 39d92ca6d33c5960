"""A program as text: a layer a line, in INT8 or float, with its share of the work."""
from __future__ import annotations

import numpy as np
import pytest

from sparkq.program.text import program_text
from sparkq.program.types import Array, Program
from sparkq.program.work import integer_nodes, multiply_accumulates
from tests.export.programs import PER_CHANNEL, conv, program_of, real, rounded, step
from tests.models import digits_artifact
from tests.program.cases import CASES

_GOLDEN = """\
value   operator                              of           in     type                                                      MACs
pixels  permute(dims=[0, 3, 1, 2])            images              uint8 [N, 3, 4, 4]
floats  _to_copy                              pixels       float  float32 [N, 3, 4, 4] -> uint8, scale 0.012, zero point 3
conv    conv2d(padding=1x1) + relu            floats       INT8   float32 [N, 2, 4, 4] -> uint8, scale 0.5, zero point 0    86.9 %
rows    slice(dim=2, start=0, end=4, step=2)  conv         INT8   float32 [N, 2, 2, 4]
padded  pad(pad=[0, 0, 1, 0], value=0)        rows         INT8   float32 [N, 2, 3, 4] -> uint8, scale 0.5, zero point 0
turned  flip(dims=[3])                        padded       INT8   uint8 [N, 2, 3, 4]
means   mean(dim=[2, 3])                      turned       float  float32 [N, 2]
mixed   linear                                means        float  float32 [N, 5]                                            1.0 %
whole   view                                  turned       float  float32 [N, 24]
last    linear                                whole        INT8   float32 [N, 5]                                            12.1 %
ones    full(value=1)                                      float  float32 [N, 5]
less    sub                                   last, ones   float  float32 [N, 5]
sum     add                                   mixed, less  float  float32 [N, 5]
22 nodes, 0.0 million multiply-accumulates an image, 99.0 % of them in INT8; 0.00 MB of constants
"""


def _layer(name: str, *weight: int) -> dict[str, Array]:
    zeros = np.zeros(weight[0], np.int64)
    return {f"{name}.weight": np.ones(weight, np.int8), f"{name}.scales": np.ones(weight[0]), f"{name}.zeros": zeros}


def _program() -> Program:
    """Layers of integers and of real numbers, and moves of both."""
    steps = [
        step("pixels", "permute", "images", dims=(0, 3, 1, 2)),
        step("floats", "_to_copy", "pixels", shape=(-1, 3, 4, 4)),
        rounded("floats.q", "floats", 0.012, 3),
        real("floats.r", "floats.q", 0.012, 3),
        step("conv.w", PER_CHANNEL, "conv.weight", "conv.scales", "conv.zeros", axis=0),
        conv("conv", "floats.r", "conv.w", "conv.bias", padding=1),
        step("conv.relu", "relu", "conv"),
        rounded("conv.q", "conv.relu", 0.5, 0),
        real("conv.r", "conv.q", 0.5, 0),
        step("rows", "slice", "conv.r", dim=2, start=0, end=4, step=2),
        step("padded", "pad", "rows", pad=(0, 0, 1, 0), mode="constant", value=0.0),
        rounded("padded.q", "padded", 0.5, 0),
        step("turned", "flip", "padded.q", dims=(3,)),
        real("turned.r", "turned", 0.5, 0),
        step("means", "mean", "turned.r", dim=(2, 3), keepdim=False),
        step("mixed", "linear", "means", "mixed.weight", None),
        step("whole", "view", "turned.r", shape=(-1, 24)),
        step("last.w", PER_CHANNEL, "last.weight", "last.scales", "last.zeros", axis=0),
        step("last", "linear", "whole", "last.w", None),
        step("ones", "full", value=1.0, shape=(-1, 5)),
        step("less", "sub", "last", "ones"),
        step("sum", "add", "mixed", "less"),
    ]
    constants = {
        **_layer("conv", 2, 3, 3, 3), **_layer("last", 5, 24), "conv.bias": np.ones(2, np.float32),
        "mixed.weight": np.ones((5, 2), np.float32),
    }
    return program_of(steps, constants, (4, 4))


def test_what_is_said_of_a_program() -> None:
    """Word for word: what is folded into a layer's line, what computes in integers, and shares that are those of the shapes."""
    program = _program()
    assert program_text(program) == _GOLDEN.rstrip("\n")
    work = {"conv": 2 * 4 * 4 * 3 * 9, "mixed": 2 * 5, "last": 24 * 5}
    assert multiply_accumulates(program) == work
    for line, count in work.items():
        share = next(text for text in _GOLDEN.splitlines() if text.startswith(f"{line} ")).split()[-2]
        assert float(share) == pytest.approx(100 * count / sum(work.values()), abs=0.05)


def test_a_network_of_many_nodes() -> None:
    """Each has its line, of as many as a program may have; with a look at all nodes for each this would take far longer."""
    steps = [step("n0", "_to_copy", "images", shape=(-1, 2, 2, 3))]
    steps += [step(f"n{number}", "neg", f"n{number - 1}") for number in range(1, 8000)]
    program = program_of([*steps, step("flat", "view", "n7999", shape=(-1, 12))], {}, (2, 2))
    assert program_text(program).count("\n") == len(program.nodes) + 1
    assert integer_nodes(program) == frozenset()


def test_a_quantized_network() -> None:
    """Each layer is one line; the shares and the sum are those of the layers' shapes."""
    artifact = digits_artifact("static")
    lines = program_text(artifact.program()).splitlines()
    layers = {line.split()[0]: line for line in lines if line.rstrip().endswith("%")}
    assert layers and all("INT8" in line for line in layers.values())
    assert sum(float(line.split()[-2]) for line in layers.values()) == pytest.approx(100, abs=0.5)
    assert not any("dequantize" in line for line in lines)
    assert any("+ relu" in line and "-> uint8, scale" in line for line in lines)
    assert "100.0 % of them in INT8" in lines[-1]


def test_a_float_network() -> None:
    """Nothing of it is INT8."""
    lines = program_text(digits_artifact("none").program()).splitlines()
    assert not any("INT8" in line for line in lines[:-1]) and " 0.0 % of them in INT8" in lines[-1]


@pytest.mark.parametrize(("name", "count"), [
    ("conv2d", 2 * 8 * 9 * 9 * 4 * 6), ("conv2d depthwise", 2 * 8 * 5 * 9 * 6), ("linear", 5 * 3 * 4 * 7),
    ("conv_transpose2d", 2 * 4 * 9 * 8 * 6 * 3 * 2), ("matmul", 2 * 4 * 5 * 6 * 3), ("attention", 2 * 4 * 5 * 6 * (8 + 8)),
    ("relu", 0),
])
def test_multiply_accumulates(name: str, count: int) -> None:
    """Of one image: products of weights and values, of queries and keys, of scores and values."""
    assert multiply_accumulates(CASES[name].program()).get("result", 0) == count
