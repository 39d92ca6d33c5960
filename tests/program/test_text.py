"""A program as text: a layer a line, in INT8 or float, with its share of the work."""
from __future__ import annotations

import pytest

from sparkq.program.text import program_text
from sparkq.program.work import multiply_accumulates
from tests.models import digits_artifact
from tests.program.cases import CASES


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
    ("matmul", 2 * 4 * 5 * 6 * 3), ("attention", 2 * 4 * 5 * 6 * (8 + 8)), ("relu", 0),
])
def test_multiply_accumulates(name: str, count: int) -> None:
    """Of one image: products of weights and values, of queries and keys, of scores and values."""
    assert multiply_accumulates(CASES[name].program()).get("result", 0) == count
