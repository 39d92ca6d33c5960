"""Programs of one operator, for tests: their types are filled in from the table of operators."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from sparkq.program.operators import OPERATORS
from sparkq.program.shapes.call import Call
from sparkq.program.types import INPUT, Array, Attribute, Node, Program, ValueType
from sparkq.program.validate import check_program

__all__ = ["IMAGE", "node_of", "one_operator"]

IMAGE: npt.NDArray[np.uint8] = np.zeros((1, 2, 2, 3), np.uint8)
"""Something to run a program of `one_operator` on: its pixels do not matter."""


def node_of(
    name: str, operator: str, inputs: Sequence[str | float | None], attributes: Mapping[str, Attribute],
    types: Mapping[str, ValueType], declared: ValueType | None = None,
) -> Node:
    """A node whose type follows from its inputs; operators that take their shape from it need `declared`."""
    given = tuple(
        (types[argument].dtype, types[argument].shape) if isinstance(argument, str) else argument for argument in inputs
    )
    said = ("float32", ()) if declared is None else (declared.dtype, declared.shape)
    found = OPERATORS[operator].infer(Call(given, attributes, said))
    return Node(name, operator, tuple(inputs), dict(attributes), ValueType(*found))


def one_operator(
    operator: str, inputs: Sequence[Array | float | None], attributes: Mapping[str, Attribute] | None = None, *,
    declared: ValueType | None = None,
) -> Program:
    """A checked program whose value ``result`` is an operator's of constants.

    The answer of the whole program is ``sum(pixels) * 0 + sum(result)``, float32 [N, 1], so that it depends on the images.
    """
    constants = {f"input_{index}": array for index, array in enumerate(inputs) if isinstance(array, np.ndarray)}
    names = tuple(f"input_{index}" if isinstance(array, np.ndarray) else array for index, array in enumerate(inputs))
    types = {name: ValueType(str(array.dtype), array.shape) for name, array in constants.items()}
    result = node_of("result", operator, names, attributes or {}, types, declared)
    nodes = [result]
    if result.type.dtype != "float32":
        nodes.append(Node("real", "aten._to_copy", ("result",), {}, ValueType("float32", result.type.shape)))
    flat = Node("flat", "aten.view", (nodes[-1].name,), {}, ValueType("float32", (1, max(int(np.prod(result.type.shape)), 1))))
    row = ValueType("float32", (-1, 12))
    nodes += [
        flat,
        Node("pixels", "aten.view", (INPUT,), {}, ValueType("uint8", (-1, 12))),
        Node("values", "aten._to_copy", ("pixels",), {}, row),
        Node("nothing", "aten.mul", ("values", 0.0), {}, row),
        Node("one", "aten.sum", ("nothing",), {"dim": (1,), "keepdim": True}, ValueType("float32", (-1, 1))),
        Node("total", "aten.add", ("one", "flat"), {}, ValueType("float32", (-1, flat.type.shape[1]))),
    ]
    program = Program(ValueType("uint8", (-1, 2, 2, 3)), constants, tuple(nodes), "total")
    check_program(program)
    return program
