"""Small programs on images, written a step a line: their types are filled in from the table of operators."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

from sparkq.program.operators import OPERATORS
from sparkq.program.shapes.call import Call
from sparkq.program.types import INPUT, Array, Attribute, Node, Program, ValueType
from sparkq.program.validate import check_program

__all__ = ["PER_CHANNEL", "Step", "conv", "program_of", "real", "rounded", "step"]

PER_CHANNEL = "quantized_decomposed.dequantize_per_channel"
Step = tuple[str, str, Sequence[str | float | None], Mapping[str, Attribute], ValueType | None]


def step(
    name: str, operator: str, *inputs: str | float | None, shape: Sequence[int] | None = None, dtype: str = "float32",
    **attributes: Attribute,
) -> Step:
    """A node to be; `shape` and `dtype` are for operators that take theirs from the node."""
    declared = None if shape is None else ValueType(dtype, tuple(shape))
    return name, operator if "." in operator else f"aten.{operator}", inputs, attributes, declared


def conv(name: str, *inputs: str | None, padding: int = 0, stride: int = 1, groups: int = 1) -> Step:
    """A convolution."""
    attributes: dict[str, Attribute] = {
        "stride": (stride, stride), "padding": (padding, padding), "dilation": (1, 1), "groups": groups,
    }
    return name, "aten.conv2d", inputs, attributes, None


def rounded(name: str, x: str, scale: float, zero_point: int, levels: tuple[int, int] = (0, 255)) -> Step:
    """A value rounded to integers."""
    attributes: dict[str, Attribute] = {"scale": scale, "zero_point": zero_point, "quant_min": levels[0], "quant_max": levels[1]}
    return name, "quantized_decomposed.quantize_per_tensor", (x,), attributes, None


def real(name: str, x: str, scale: float, zero_point: int) -> Step:
    """The number that an integer stands for."""
    return name, "quantized_decomposed.dequantize_per_tensor", (x,), {"scale": scale, "zero_point": zero_point}, None


def program_of(steps: Sequence[Step], constants: Mapping[str, Array], size: tuple[int, int]) -> Program:
    """A checked program on images of `size`, [H, W], whose answer is the value of the last step."""
    images = ValueType("uint8", (-1, *size, 3))
    types = {INPUT: images, **{name: ValueType(str(array.dtype), array.shape) for name, array in constants.items()}}
    nodes: list[Node] = []
    for name, operator, inputs, attributes, declared in steps:
        types[name] = declared or ValueType(*_inferred(operator, inputs, attributes, types))
        nodes.append(Node(name, operator, tuple(inputs), dict(attributes), types[name]))
    program = Program(images, constants, tuple(nodes), nodes[-1].name)
    check_program(program)
    return program


def _inferred(
    operator: str, inputs: Sequence[str | float | None], attributes: Mapping[str, Attribute], types: Mapping[str, ValueType],
) -> tuple[str, tuple[int, ...]]:
    """Dtype and shape, with what two numbers of images have in different sizes as multiples of N."""
    shapes = []
    for images in (5, 7):
        given = tuple((types[name].dtype, types[name].sizes(images)) if isinstance(name, str) else name for name in inputs)
        dtype, shape = OPERATORS[operator].infer(Call(given, attributes, ("float32", ())))
        shapes.append(shape)
    return dtype, tuple(five if five == seven else -five // 5 for five, seven in zip(*shapes, strict=True))
