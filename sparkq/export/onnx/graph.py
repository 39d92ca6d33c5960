"""An ONNX graph that is being written: nodes, initializers, and shapes that depend on the number of images."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from onnx import helper, numpy_helper

from sparkq.errors import ModelError
from sparkq.program.types import INPUT, Array, Node, ValueType

__all__ = ["OUTPUT", "Graph", "Writer"]

OUTPUT = "output"
"""Name of the file's one output."""


class Graph:
    """Nodes and initializers so far.

    Parameters
    ----------
    constants : mapping of str to ndarray
        The program's; each becomes an initializer when it is first read.
    types : mapping of str to ValueType
        Of all values of the program.

    Attributes
    ----------
    place : str
        The node of the program that is being written; what is added for it is called after it.
    """

    def __init__(self, constants: Mapping[str, Array], types: Mapping[str, ValueType]) -> None:
        self.constants, self.types = constants, types
        self.nodes: list[Any] = []
        self.initializers: dict[str, Any] = {}
        self.place = INPUT
        self._count = 0
        # A network may well call a layer what the file calls its output.
        self._renamed = {OUTPUT: self._fresh()} if OUTPUT in types else {}

    def value(self, given: str | float | int | None) -> str:
        """Return the name of an input: a value, a constant, a number as float32, or nothing."""
        if given is None:
            return ""
        if not isinstance(given, str):
            return self.constant(np.float32(given))
        name = self._renamed.get(given, given)
        if given in self.constants and name not in self.initializers:
            self.constant(self.constants[given], name)
        return name

    def constant(self, array: Any, name: str | None = None) -> str:
        """Add an initializer."""
        name = name or self._fresh()
        self.initializers[name] = numpy_helper.from_array(np.asarray(array, order="C"), name)
        return name

    def integers(self, *numbers: int) -> str:
        """Add an initializer of int64."""
        return self.constant(np.array(numbers, np.int64))

    def add(self, operator: str, inputs: Sequence[str], output: str | None = None, **attributes: Any) -> str:
        """Add a node with one output; its name."""
        output = self._fresh() if output is None else self._renamed.get(output, output)
        self.nodes.append(helper.make_node(operator, list(inputs), [output], name=f"{output}:{operator}", **attributes))
        return output

    def shape(self, found: ValueType, *, may_infer: bool) -> str:
        """Return a shape as int64; `may_infer` leaves a single size that depends on the number of images open, as -1."""
        open_sizes = [size for size in found.shape if size < 0]
        if not open_sizes or may_infer and len(open_sizes) == 1:
            return self.integers(*(max(size, -1) for size in found.shape))
        count = self.add("Shape", [INPUT], start=0, end=1)
        sizes = [
            self.add("Mul", [count, self.integers(-size)]) if size < 0 else self.integers(size) for size in found.shape
        ]
        return self.add("Concat", sizes, axis=0)

    def finish(self, value: str) -> None:
        """Give a value to the file's output."""
        given, self._renamed = self.value(value), {}
        self.add("Identity", [given], OUTPUT)

    def fixed(self, node: Node, index: int, *dims: int) -> tuple[int, ...]:
        """Return sizes of an input.

        Raises
        ------
        ModelError
            If one depends on the number of images, which the file leaves open.
        """
        found = self.types[str(node.inputs[index])]
        sizes = tuple(found.shape[dim] for dim in dims)
        if any(size < 0 for size in sizes):
            raise ModelError(
                f"node {node.name} ({node.operator}): expected input {index} with sizes that ONNX can be told, in dimensions "
                f"{', '.join(map(str, dims))}; got {found}, whose N is open.", hint="export it to another format.",
            )
        return sizes

    def _fresh(self) -> str:
        """Return a name that no value of the program has, after the node that is being written."""
        while True:
            self._count += 1
            name = f"{self.place}#{self._count}"
            if name not in self.types:
                return name


Writer = Callable[[Graph, Node], None]
"""Writes one node of a program; the last of its nodes gives the value of that name."""
