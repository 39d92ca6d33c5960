"""Types of a program: values with a dtype and a shape, nodes that compute one value each, constants, one input and one output."""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Argument", "Array", "Attribute", "INPUT", "Node", "Program", "ValueType"]

Array = npt.NDArray[np.generic]
Argument = str | float | int | None
"""An input of a node: the name of a value, a number, or None where an optional one is left out."""
Attribute = bool | int | float | str | tuple[int, ...] | None

INPUT = "images"
"""Name of a program's one input, uint8 [N, H, W, 3] RGB."""


@dataclass(frozen=True)
class ValueType:
    """The dtype and the shape of a value.

    Parameters
    ----------
    dtype : str
        ``uint8``, ``int8``, ``int32``, ``int64``, ``float32``, ``float64`` or ``bool``.
    shape : tuple of int
        Sizes. A negative one is a multiple of the number of images N: -1 is N, -64 is 64 N.
    """

    dtype: str
    shape: tuple[int, ...]

    def sizes(self, images: int) -> tuple[int, ...]:
        """Return the shape for a number of images."""
        return tuple(-size * images if size < 0 else size for size in self.shape)

    def __str__(self) -> str:
        sizes = ("N" if size == -1 else f"{-size}N" if size < 0 else str(size) for size in self.shape)
        return f"{self.dtype} [{', '.join(sizes)}]"


@dataclass(frozen=True)
class Node:
    """A call of one operator, which gives one value.

    Parameters
    ----------
    name : str
        Of the value that it gives; unique in the program.
    operator : str
        A name of `sparkq.program.operators`, e.g. ``aten.conv2d``.
    inputs : tuple of Argument
        In the operator's order.
    attributes : mapping of str to Attribute
        Every one that the operator has.
    type : ValueType
        Of the value.
    """

    name: str
    operator: str
    inputs: tuple[Argument, ...]
    attributes: Mapping[str, Attribute]
    type: ValueType

    def attribute(self, name: str) -> Any:
        """Return an attribute; `sparkq.program.validate` has checked its kind."""
        return self.attributes[name]

    @property
    def values(self) -> tuple[str, ...]:
        """Names of the values that it reads."""
        return tuple(argument for argument in self.inputs if isinstance(argument, str))


@dataclass(frozen=True)
class Program:
    """A network as data.

    Parameters
    ----------
    input : ValueType
        Of the value `INPUT`.
    constants : mapping of str to ndarray
        Weights, biases, scales and tables, by name.
    nodes : tuple of Node
        Each reads only the input, constants, and nodes before it.
    output : str
        Name of the value that is the answer, float32 [N, C].
    """

    input: ValueType
    constants: Mapping[str, Array]
    nodes: tuple[Node, ...]
    output: str

    def types(self) -> dict[str, ValueType]:
        """Return the type of every value."""
        constants = {name: ValueType(str(array.dtype), array.shape) for name, array in self.constants.items()}
        return {INPUT: self.input, **constants, **{node.name: node.type for node in self.nodes}}

    def readers(self) -> dict[str, list[Node]]:
        """Return the nodes that read each value, in order; a node that reads it twice is there twice."""
        found: dict[str, list[Node]] = {name: [] for name in self.types()}
        for node in self.nodes:
            for name in node.values:
                found[name].append(node)
        return found

    def last_reads(self) -> dict[str, list[str]]:
        """Return, for each node's name, the values of nodes that nothing reads after it: their memory is free then."""
        last = {name: node.name for node in self.nodes for name in (*node.values, node.name)}
        freed: dict[str, list[str]] = {node.name: [] for node in self.nodes}
        for name, reader in last.items():
            if name not in self.constants and name != self.output:
                freed[reader].append(name)
        return freed

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)
