"""The pickles of a TorchScript archive, walked by a machine that builds numbers, lists and sizes, and calls nothing."""
from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sparkq.errors import one_line
from sparkq.torchscript.operators import PACKED_CLASSES

__all__ = ["PickleError", "check_pickle"]

_ITEM_BYTES = {
    "Bool": 1, "Byte": 1, "Char": 1, "Short": 2, "Int": 4, "Long": 8, "Half": 2, "BFloat16": 2, "Float": 4, "Double": 8,
    "QInt8": 1, "QUInt8": 1, "QInt32": 4, "ComplexFloat": 8, "ComplexDouble": 16,
}
_MOST_NUMBERS = 2**31
_LISTS = ("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist")
_NAMES = frozenset({
    "collections OrderedDict", "torch per_channel_affine", "torch per_tensor_affine", "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_qtensor", *(f"torch {name}Storage" for name in _ITEM_BYTES),
    *(f"torch.jit._pickle {name}" for name in _LISTS), *(
        f"__torch__.torch.classes.{name.rpartition('.')[0]} {name.rpartition('.')[2]}" for name in PACKED_CLASSES
    ),
})


class PickleError(Exception):
    """Content of a pickle that none of ours has; the message is a noun."""


@dataclass(frozen=True)
class _Name:
    """A function or class that the pickle names."""

    name: str


@dataclass(frozen=True)
class _Storage:
    """Numbers in a file of the archive."""

    count: int


@dataclass(frozen=True)
class _Tensor:
    """A tensor of such numbers."""

    sizes: tuple[int, ...]


_OBJECT = _Name("object")


def check_pickle(data: bytes, *, classes: frozenset[str], files: Mapping[str, int]) -> None:
    """Walk through a pickle.

    Parameters
    ----------
    data : bytes
        ``data.pkl`` or ``constants.pkl``.
    classes : frozenset of str
        Classes that the archive's code defines.
    files : mapping of str to int
        Size in bytes of each file that tensors may lie in, by its number.

    Raises
    ------
    PickleError
        If it names anything else, or a tensor reaches beyond its file.
    """
    machine = _Machine(classes, files)
    try:
        for operation, argument in _operations(data):
            machine.step(operation, argument)
    # An empty stack, an unknown code, an end in the middle.
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise PickleError(f"a damaged pickle ({one_line(error)})") from error


def _operations(data: bytes) -> Iterator[tuple[str, Any]]:
    """Codes and their arguments; only those that torch writes."""
    position, operation = 0, ""
    while operation != "STOP":
        operation, layout = _CODES[data[position]]
        position += 1
        if operation == "GLOBAL":
            end = data.index(b"\n", data.index(b"\n", position) + 1)
            argument: Any = " ".join(data[position:end].decode("ascii").split("\n"))
            position = end + 1
        else:
            argument = struct.unpack_from(layout, data, position)[0] if layout else None
            position += struct.calcsize(layout)
        if operation == "BINUNICODE":
            argument, position = data[position:position + argument].decode(), position + argument
        yield operation, argument


class _Machine:
    def __init__(self, classes: frozenset[str], files: Mapping[str, int]) -> None:
        self._classes, self._files = classes, files
        # As in torch's reader, a mark is a place and no item.
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: list[Any] = []

    def step(self, operation: str, argument: Any) -> None:
        stack = self._stack
        if operation in ("BINGET", "LONG_BINGET"):
            stack.append(self._memo[argument])
        elif operation in ("BINPUT", "LONG_BINPUT"):
            # torch makes a table as long as the largest number.
            if argument != len(self._memo):
                raise PickleError(f"memo entry {argument} after {len(self._memo)}")
            self._memo.append(stack[-1])
        elif operation in ("BININT", "BININT1", "BININT2", "BINFLOAT", "BINUNICODE", "LONG"):
            stack.append(argument)
        elif operation in _CONSTANTS:
            stack.append(_CONSTANTS[operation])
        elif operation == "MARK":
            self._marks.append(len(stack))
        elif operation == "TUPLE":
            stack.append(tuple(self._popped()))
        elif operation in _TUPLES:
            stack.append(tuple(self._taken(_TUPLES[operation])))
        elif operation in ("APPENDS", "SETITEMS"):
            self._popped()
            self._taken(1, leave=True)
        elif operation in _INTO_THE_ONE_BELOW:
            self._taken(_INTO_THE_ONE_BELOW[operation])
            self._taken(1, leave=True)
        elif operation == "GLOBAL":
            stack.append(self._named(argument))
        elif operation == "BINPERSID":
            stack.append(self._storage(*self._taken(1)))
        elif operation in ("REDUCE", "NEWOBJ"):
            function, arguments = self._taken(2)
            stack.append(self._made(function, arguments, operation))
        elif operation == "STOP" and len(stack) != 1:
            raise PickleError("a pickle of no value, or several")

    def _popped(self) -> list[Any]:
        return self._taken(len(self._stack) - self._marks.pop())

    def _taken(self, count: int, *, leave: bool = False) -> list[Any]:
        if not 0 <= count <= len(self._stack):
            raise IndexError("an empty stack")
        start = len(self._stack) - count
        items = self._stack[start:]
        if not leave:
            del self._stack[start:]
        return items

    def _named(self, argument: str) -> _Name:
        module, _, name = argument.partition(" ")
        if argument not in _NAMES and f"{module}.{name}" not in self._classes:
            raise PickleError(f"the name {argument!r}")
        return _Name(argument)

    def _storage(self, described: tuple[Any, ...]) -> _Storage:
        kind, storage, file, device, count = described
        item_bytes = _ITEM_BYTES[storage.name.removeprefix("torch ").removesuffix("Storage")]
        if kind != "storage" or device != "cpu" or not 0 <= count * item_bytes <= self._files[file]:
            raise PickleError(f"{count} numbers of {storage.name} on {device} in file {file} of {self._files[file]} bytes")
        return _Storage(count)

    def _made(self, function: _Name, arguments: tuple[Any, ...], operation: str) -> Any:
        if operation == "NEWOBJ":
            if not function.name.startswith(("__torch__.", "__torch__ ")):  # the latter: a class of a script or a notebook
                raise PickleError(f"an object of {function.name!r}")
        elif function.name.startswith("torch._utils "):
            return _tensor(*arguments[:5])
        elif function.name != "collections OrderedDict" and not function.name.startswith("torch.jit._pickle "):
            raise PickleError(f"a call of {function.name!r}")
        return _OBJECT


def _tensor(storage: _Storage, offset: int, sizes: tuple[int, ...], strides: tuple[int, ...], quantizer: Any) -> _Tensor:
    last = offset + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
    if offset < 0 or min((*sizes, *strides), default=0) < 0 or 0 not in sizes and last >= storage.count:
        raise PickleError(f"a tensor of {list(sizes)} that reaches beyond its {storage.count} numbers")
    if math.prod(sizes) > _MOST_NUMBERS:
        raise PickleError(f"a tensor of {list(sizes)}")
    if isinstance(quantizer, tuple) and len(quantizer) == 4:
        # torch's kernels read as many as there are channels.
        _, scales, zero_points, axis = quantizer
        if not scales.sizes == zero_points.sizes == (sizes[axis],):
            raise PickleError(f"{list(scales.sizes)} scales of a tensor of {list(sizes)}")
    return _Tensor(sizes)


_CONSTANTS: dict[str, Any] = {
    "NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": (), "EMPTY_LIST": _OBJECT, "EMPTY_DICT": _OBJECT,
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_INTO_THE_ONE_BELOW = {"APPEND": 1, "BUILD": 1, "SETITEM": 2}
# Code to name and layout of its argument.
_CODES = {ord(code): (name, layout) for code, name, layout in (
    ("\x80", "PROTO", "<B"), (".", "STOP", ""), ("(", "MARK", ""), (")", "EMPTY_TUPLE", ""), ("]", "EMPTY_LIST", ""),
    ("}", "EMPTY_DICT", ""), ("N", "NONE", ""), ("\x88", "NEWTRUE", ""), ("\x89", "NEWFALSE", ""), ("K", "BININT1", "<B"),
    ("M", "BININT2", "<H"), ("J", "BININT", "<i"), ("\x8a", "LONG", "<xq"), ("G", "BINFLOAT", ">d"), ("X", "BINUNICODE", "<I"),
    ("c", "GLOBAL", ""), ("q", "BINPUT", "<B"), ("r", "LONG_BINPUT", "<I"), ("h", "BINGET", "<B"), ("j", "LONG_BINGET", "<I"),
    ("t", "TUPLE", ""), ("\x85", "TUPLE1", ""), ("\x86", "TUPLE2", ""), ("\x87", "TUPLE3", ""), ("a", "APPEND", ""),
    ("e", "APPENDS", ""), ("s", "SETITEM", ""), ("u", "SETITEMS", ""), ("b", "BUILD", ""), ("R", "REDUCE", ""),
    ("\x81", "NEWOBJ", ""), ("Q", "BINPERSID", ""),
)}
