"""An ONNX graph that is being written: nodes, initializers, and shapes that depend on the number of images."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from onnx import helper, numpy_helper

from sparkq.program.types import INPUT, Array, Node, ValueType

__all__ = ["Graph", "Writer"]


class Graph:
    """Nodes and initializers so far.

    Parameters
    ----------
    constants : mapping of str to ndarray
        The program's; each becomes an initializer when it is first read.
    types : mapping of str to ValueType
        Of all values of the program.
    """

    def __init__(self, constants: Mapping[str, Array], types: Mapping[str, ValueType]) -> None:
        self.constants, self.types = constants, types
        self.nodes: list[Any] = []
        self.initializers: dict[str, Any] = {}
        self._count = 0

    def value(self, given: str | float | int | None) -> str:
        """Return the name of an input: a value, a constant, a number as float32, or nothing."""
        if given is None:
            return ""
        if not isinstance(given, str):
            return self.constant(np.float32(given))
        if given in self.constants and given not in self.initializers:
            self.initializers[given] = numpy_helper.from_array(np.ascontiguousarray(self.constants[given]), given)
        return given

    def constant(self, array: Any, name: str | None = None) -> str:
        """Add an initializer."""
        name = name or self._fresh("constant")
        self.initializers[name] = numpy_helper.from_array(np.asarray(array), name)
        return name

    def integers(self, *numbers: int) -> str:
        """Add an initializer of int64."""
        return self.constant(np.array(numbers, np.int64))

    def add(self, operator: str, inputs: Sequence[str], output: str | None = None, **attributes: Any) -> str:
        """Add a node with one output; its name."""
        output = output or self._fresh(operator.lower())
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

    def _fresh(self, base: str) -> str:
        self._count += 1
        return f"{base}#{self._count}"


Writer = Callable[[Graph, Node], None]
"""Writes one node of a program; the last of its nodes gives the value of that name."""
