"""Programs written by hand, a call an operator; the types follow from the operators' own rules."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sparkq.program.operators import OPERATORS
from sparkq.program.shapes.call import Call
from sparkq.program.types import INPUT, Argument, Array, Attribute, Node, Program, ValueType
from sparkq.program.validate import check_program

__all__ = ["Written"]

SIZE = 8
"""Height and width of the images."""
# Sizes that differ between the two depend on the number of images.
_TRIED = (5, 7)
_REAL_NAMES = {"quantize_per_tensor", "dequantize_per_tensor", "dequantize_per_channel"}


class Written:
    """A program that grows by a node a call, on images of 8 x 8 pixels."""

    def __init__(self) -> None:
        self._nodes: list[Node] = []
        self._constants: dict[str, Array] = {}
        self._types = {INPUT: ValueType("uint8", (-1, SIZE, SIZE, 3))}

    def constant(self, array: Array) -> str:
        """Add a constant; return its name."""
        name = f"constant_{len(self._constants)}"
        self._constants[name] = array
        self._types[name] = ValueType(str(array.dtype), array.shape)
        return name

    def add(
        self, operator: str, *inputs: Argument | Array, shape: Sequence[int] = (), dtype: str = "float32",
        **attributes: Attribute,
    ) -> str:
        """Add a node; return its name. `shape` and `dtype` are for operators that take theirs from the node."""
        given = tuple(self.constant(item) if isinstance(item, np.ndarray) else item for item in inputs)
        full_name = f"{'quantized_decomposed' if operator in _REAL_NAMES else 'aten'}.{operator}"
        declared = ValueType(dtype, tuple(shape))
        found = [self._inferred(full_name, given, attributes, declared, images) for images in _TRIED]
        pairs = zip(found[0][1], found[1][1], strict=True)
        kind = ValueType(found[0][0], tuple(one if one == other else -(one // _TRIED[0]) for one, other in pairs))
        node = Node(f"{operator}_{len(self._nodes)}", full_name, given, attributes, kind)
        self._nodes.append(node)
        self._types[node.name] = kind
        return node.name

    def _inferred(
        self, operator: str, given: tuple[Argument, ...], attributes: dict[str, Attribute], declared: ValueType, images: int,
    ) -> tuple[str, tuple[int, ...]]:
        inputs = tuple(
            (self._types[item].dtype, self._types[item].sizes(images)) if isinstance(item, str) else item for item in given
        )
        if operator == "aten._to_copy":
            assert isinstance(inputs[0], tuple)
            declared = ValueType(declared.dtype, inputs[0][1])
        return OPERATORS[operator].infer(Call(inputs, attributes, (declared.dtype, declared.sizes(images))))

    def type(self, name: str) -> ValueType:
        """Return the type of a value."""
        return self._types[name]

    def reals(self, shape: Sequence[int], *, low: float = -4.0, high: float = 4.0, skip: int = 0) -> str:
        """Add float32 [N, *shape] with values of the pixels from number `skip` on, spread from `low` to `high`."""
        count = int(np.prod(shape))
        flat = self.add("view", INPUT, shape=(-1, SIZE * SIZE * 3), dtype="uint8")
        cut = self.add("slice", flat, dim=1, start=skip, end=skip + count, step=1)
        scaled = self.add("mul", self.add("_to_copy", cut), (high - low) / 255)
        return self.add("view", self.add("add", scaled, low), shape=(-1, *shape))

    def program(self, output: str) -> Program:
        """Return the checked program whose output is a value, a row an image."""
        shape = self.type(output).shape
        if self.type(output).dtype != "float32":
            output = self.add("_to_copy", output)
        rows = int(np.prod(self.type(output).sizes(1)))
        if shape != (-1, rows):
            output = self.add("view", output, shape=(-1, rows))
        program = Program(self._types[INPUT], self._constants, tuple(self._nodes), output)
        check_program(program)
        return program
