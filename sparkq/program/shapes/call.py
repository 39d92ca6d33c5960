"""A call of an operator as far as types go, and what the rules of shapes share."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sparkq.program.types import Attribute

__all__ = ["Call", "Result", "Shape", "broadcast", "expect", "positive"]

Shape = tuple[int, ...]
Result = tuple[str, Shape]
_MOST = 2**16 - 1


@dataclass(frozen=True)
class Call:
    """A call of an operator, as far as its types go.

    Parameters
    ----------
    inputs : tuple of (str, tuple of int), float, int or None
        Dtype and sizes of each tensor; numbers as they are.
    attributes : mapping of str to Attribute
        Of the right kinds.
    declared : (str, tuple of int)
        The dtype and sizes that the node says it gives.
    """

    inputs: tuple[Result | float | int | None, ...]
    attributes: Mapping[str, Attribute]
    declared: Result

    def tensor(self, index: int, *dtypes: str) -> Shape:
        """Return the sizes of an input, which must be a tensor of one of `dtypes`; float32 if none is named."""
        found = self.inputs[index] if index < len(self.inputs) else None
        expect(isinstance(found, tuple), f"input {index} to be a tensor")
        assert isinstance(found, tuple)
        expect(found[0] in (dtypes or ("float32",)), f"input {index} to be {' or '.join(dtypes or ('float32',))}, not {found[0]}")
        return found[1]

    def optional(self, index: int, sizes: Shape) -> None:
        """Check an input that may be left out: float32 of these sizes."""
        if self.inputs[index] is not None:
            expect(self.tensor(index) == sizes, f"input {index} to be {list(sizes)}")

    def number(self, name: str) -> Any:
        """Return an attribute; its kind was checked."""
        return self.attributes[name]

    def ints(self, name: str, count: int, least: int) -> Shape:
        """Return an attribute of `count` whole numbers, none below `least`, and none that kernels could not count with."""
        found = self.attributes[name]
        assert isinstance(found, tuple)
        holds = len(found) == count and all(least <= number <= _MOST for number in found)
        expect(holds, f"{name} to be {count} numbers from {least} to {_MOST}")
        return found

    def dim(self, name: str, rank: int) -> int:
        """Return a dimension, counted from the front."""
        found = self.number(name)
        expect(0 <= found < rank, f"{name} to be from 0 to {rank - 1}, not {found}")
        return int(found)

    def dims(self, name: str, rank: int) -> Shape:
        """Return dimensions, all different, counted from the front."""
        found = self.number(name)
        expect(all(0 <= dim < rank for dim in found) and len(set(found)) == len(found), f"{name} to be dimensions below {rank}")
        return tuple(found)


def expect(holds: bool, what: str) -> None:
    """Raise `ValueError` that says what was expected, unless it holds."""
    if not holds:
        raise ValueError(f"expected {what}")


def broadcast(*shapes: Shape) -> Shape:
    """Return the shape that all these are stretched to, by the rules of NumPy and torch."""
    rank = max(map(len, shapes))
    columns = zip(*((1,) * (rank - len(shape)) + shape for shape in shapes), strict=True)
    sizes = []
    for column in columns:
        stretched = {size for size in column if size != 1}
        expect(len(stretched) <= 1, f"shapes that broadcast, not {' and '.join(str(list(shape)) for shape in shapes)}")
        sizes.append(stretched.pop() if stretched else 1)
    return tuple(sizes)


def positive(sizes: Shape) -> Shape:
    """Return sizes that are all at least 1."""
    expect(all(size > 0 for size in sizes), "a result with at least one value")
    return sizes
