"""Two recordings of different numbers of images become one program for any number."""
from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sparkq.errors import ModelError
from sparkq.program.types import INPUT, Array, Node, Program, ValueType
from sparkq.quantization.capture.tape import Tape

__all__ = ["RECORDED_IMAGES", "Recording", "merged"]

RECORDED_IMAGES = (2, 3)
_HINT = "take sizes from x.shape (or use flatten(1)), not from a constant, and branches on pixel values out of forward()."


@dataclass(frozen=True)
class Recording:
    """A tape, and the names of the values that the module gave."""

    tape: Tape
    outputs: tuple[str, ...]


def merged(few: Recording, more: Recording) -> Program:
    """Make one program of two recordings, in which all that grew from one to the other is a multiple of the images.

    Parameters
    ----------
    few, more : Recording
        Of `RECORDED_IMAGES` images.

    Returns
    -------
    Program
        With all that leads to the outputs, of which the first is its output; its input's size is left open.

    Raises
    ------
    ModelError
        If they differ in anything but such sizes: the model remembers the number of images, or branches on their pixels.
    """
    first, second = few.tape, more.tape
    outputs = few.outputs
    if len(first.nodes) != len(second.nodes) or outputs != more.outputs or first.constants.keys() != second.constants.keys():
        raise _differs("it takes another way")
    constants, expanded = {}, []
    for name, array in first.constants.items():
        constants[name], node = _one_constant(name, array, second.constants[name])
        expanded += [node] if node is not None else []
    nodes = [_one_node(*pair) for pair in zip(first.nodes, second.nodes, strict=True)]
    renamed = {str(node.inputs[0]): node.name for node in expanded}
    nodes = [
        replace(node, inputs=tuple(renamed.get(given, given) if isinstance(given, str) else given for given in node.inputs))
        for node in nodes
    ]
    return _needed(Program(ValueType("uint8", ()), constants, (*expanded, *nodes), outputs[0]), outputs)


def _one_node(first: Node, second: Node) -> Node:
    same = (first.name, first.operator, first.inputs, first.attributes, first.type.dtype)
    if same != (second.name, second.operator, second.inputs, second.attributes, second.type.dtype):
        raise _differs(f"operator {first.name} is another one")
    return replace(first, type=ValueType(first.type.dtype, _one_shape(first.type.shape, second.type.shape, first.name)))


def _one_shape(first: tuple[int, ...], second: tuple[int, ...], name: str) -> tuple[int, ...]:
    if len(first) != len(second):
        raise _differs(f"operator {name} gives another number of dimensions")
    sizes = []
    for few, more in zip(first, second, strict=True):
        if few == more:
            sizes.append(few)
        elif few * RECORDED_IMAGES[1] == more * RECORDED_IMAGES[0]:
            sizes.append(-(few // RECORDED_IMAGES[0]))
        else:
            raise _differs(f"operator {name} gives {list(first)} and {list(second)}")
    return tuple(sizes)


def _one_constant(name: str, first: Array, second: Array) -> tuple[Array, Node | None]:
    """Return a constant, and the node that repeats it where it has as many rows as there are images."""
    shape = _one_shape(first.shape, second.shape, name)
    few, more = first, second
    for dim, size in enumerate(shape):
        if size < 0:
            few, more = few.take([0], dim), more.take([0], dim)
    if few.dtype != more.dtype or not np.array_equal(few, more, equal_nan=few.dtype.kind == "f"):
        raise _differs(f"constant {name} has other values")
    if min(shape, default=0) >= 0:
        return first, None
    if not np.array_equal(np.broadcast_to(few, first.shape), first):
        raise _differs(f"constant {name} differs from image to image")
    return few, Node(f"{name}.repeated", "aten.expand", (name,), {}, ValueType(str(few.dtype), shape))


def _differs(how: str) -> ModelError:
    few, more = RECORDED_IMAGES
    return ModelError(
        f"model: expected the same operators for any images, and for {few} as for {more} of them; for some {how}.", hint=_HINT,
    )


def _needed(program: Program, outputs: tuple[str, ...]) -> Program:
    """Drop nodes and constants that lead to nothing."""
    wanted, nodes = set(outputs), []
    for node in reversed(program.nodes):
        if node.name in wanted:
            wanted.update(node.values)
            nodes.append(node)
    if INPUT not in wanted:
        raise ModelError("model: expected an output that depends on the image; got a constant.", hint="check forward().")
    constants = {name: array for name, array in program.constants.items() if name in wanted}
    return replace(program, constants=constants, nodes=tuple(reversed(nodes)))
