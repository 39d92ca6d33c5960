"""A call of an operator as a converter takes it: values in OpenVINO's graph, and the sizes that the program declares."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sparkq.engines.openvino_graph.library import ops
from sparkq.program.types import Array, Node, ValueType

__all__ = ["Call", "Converter", "Grid", "Sizes", "Unsupported", "Value", "integers", "number"]


class Unsupported(Exception):
    """OpenVINO has no node for what a program asks; the message completes "expected ..."."""


@dataclass(frozen=True)
class Grid:
    """The numbers that 8-bit integers stand for: ``(k - zero_point) * scale`` for every k from `low` to `high`."""

    scale: float
    zero_point: int
    low: int
    high: int

    def has_zero(self) -> bool:
        """Tell whether 0 is one of them."""
        return self.low <= self.zero_point <= self.high

    def is_positive(self) -> bool:
        """Tell whether none of them is below 0."""
        return self.zero_point <= self.low

    def is_within(self, other: Grid) -> bool:
        """Tell whether all of them are numbers of another grid, too: rounding to that one changes nothing."""
        same = (self.scale, self.zero_point) == (other.scale, other.zero_point)
        return same and other.low <= self.low and self.high <= other.high


@dataclass(frozen=True)
class Value:
    """A value of the program in OpenVINO's graph.

    Parameters
    ----------
    output : openvino.Node or openvino.Output
        Its numbers. Those of 8-bit integers with a `grid` are float32, and what the integers stand for: "quantized in meaning".
    grid : Grid, optional
        Where all the numbers are known to lie. None for pixels, for constants, and for floats that were computed.
    array : ndarray, optional
        The numbers of a constant.
    decoded : callable, optional
        Of INT8 weights: gives their numbers in float32.
    moved : (Value, callable), optional
        Of one that another was moved to: that other, and what moves any in the same way.
    """

    output: Any
    grid: Grid | None = None
    array: Array | None = None
    decoded: Callable[[], Array] | None = None
    moved: tuple[Value, Callable[[Value], Any]] | None = None


class Sizes:
    """The shapes that a program declares, as OpenVINO takes them: numbers, or computed from the number of images.

    Parameters
    ----------
    images : openvino.Node
        The model's Parameter, [N, H, W, 3].
    batch_size : int, optional
        N, if it is known.
    """

    def __init__(self, images: Any, batch_size: int | None) -> None:
        self._images = images
        self._batch_size = batch_size

    def known(self, kind: ValueType) -> tuple[int, ...] | None:
        """Return the sizes of a value as numbers; None if they depend on the number of images and that is not known."""
        if self._batch_size is None and min(kind.shape, default=0) < 0:
            return None
        return kind.sizes(self._batch_size or 0)

    def of(self, kind: ValueType) -> Any:
        """Return the sizes of a value: int64 [R], a constant wherever that can be."""
        sizes = self.known(kind)
        if sizes is not None:
            return integers(sizes)
        count = ops.gather(ops.shape_of(self._images), integers([0]), number(0, np.int64))
        return ops.concat(
            [ops.multiply(count, integers([-size])) if size < 0 else integers([size]) for size in kind.shape], 0,
        )

    def reshaped(self, kind: ValueType) -> Any:
        """Return the sizes for a reshape: one that depends on the number of images may be left to OpenVINO as -1."""
        if self.known(kind) is None and sum(size < 0 for size in kind.shape) == 1:
            return integers([max(size, -1) for size in kind.shape])
        return self.of(kind)


@dataclass(frozen=True)
class Call:
    """One node of the program with what it reads.

    Parameters
    ----------
    node : Node
        As in the program.
    inputs : tuple of Value, float, int or None
        In its order.
    types : tuple of ValueType or None
        Of the inputs that are values.
    sizes : Sizes
        Of this model.
    readers : tuple of Node
        The nodes of the program that read the result.
    """

    node: Node
    inputs: tuple[Value | float | int | None, ...]
    types: tuple[ValueType | None, ...]
    sizes: Sizes
    readers: tuple[Node, ...] = ()

    def __getitem__(self, attribute: str) -> Any:
        """Return an attribute of the node."""
        return self.node.attributes[attribute]

    def value(self, index: int = 0) -> Value:
        """Return an input that is a value."""
        found = self.inputs[index]
        assert isinstance(found, Value)
        return found

    def type(self, index: int = 0) -> ValueType:
        """Return the type of an input that is a value."""
        found = self.types[index]
        assert found is not None
        return found

    def tensor(self, index: int = 0) -> Any:
        """Return an input in OpenVINO's graph; a number becomes a constant."""
        found = self.inputs[index]
        return found.output if isinstance(found, Value) else number(found)

    def optional(self, index: int) -> Any | None:
        """Return an input in OpenVINO's graph; None if it is left out."""
        return None if self.inputs[index] is None else self.tensor(index)


Converter = Callable[[Call], Any]
"""From a call to the node or the output of OpenVINO's graph that computes its value."""


def number(value: Any, dtype: Any = np.float32) -> Any:
    """Return a constant without dimensions."""
    return ops.constant(np.array(value, dtype))


def integers(values: Sequence[int]) -> Any:
    """Return a constant int64 [R]."""
    return ops.constant(np.array(values, np.int64))
