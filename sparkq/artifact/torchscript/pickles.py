"""The pickles of a TorchScript archive, walked by a machine that builds numbers, lists and sizes, and calls nothing."""
from __future__ import annotations

import math
import pickletools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sparkq.artifact.torchscript.operators import PACKED_CLASSES

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
    """What a pickle holds that none of ours does; the message is a noun."""


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


_MARK, _OBJECT = _Name("mark"), _Name("object")


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
        for operation, argument, _ in pickletools.genops(data):
            machine.step(operation.name, argument)
    # An empty stack, an unknown code, an end in the middle.
    except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise PickleError(f"a damaged pickle ({error})") from error


class _Machine:
    def __init__(self, classes: frozenset[str], files: Mapping[str, int]) -> None:
        self._classes, self._files = classes, files
        self._stack: list[Any] = []
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
        elif operation in ("BININT", "BININT1", "BININT2", "BINFLOAT", "BINUNICODE", "LONG1"):
            stack.append(argument)
        elif operation in _CONSTANTS:
            stack.append(_CONSTANTS[operation])
        elif operation == "MARK":
            stack.append(_MARK)
        elif operation == "TUPLE":
            stack.append(tuple(self._popped()))
        elif operation in _TUPLES:
            stack[-_TUPLES[operation]:] = [tuple(stack[-_TUPLES[operation]:])]
        elif operation in ("APPENDS", "SETITEMS"):
            self._popped()
        elif operation in ("APPEND", "BUILD"):
            stack.pop()
        elif operation == "SETITEM":
            del stack[-2:]
        elif operation == "GLOBAL":
            stack.append(self._named(argument))
        elif operation == "BINPERSID":
            stack.append(self._storage(stack.pop()))
        elif operation in ("REDUCE", "NEWOBJ"):
            arguments, function = stack.pop(), stack.pop()
            stack.append(self._made(function, arguments, operation))
        elif operation not in ("PROTO", "STOP"):
            raise PickleError(f"pickle code {operation}")

    def _popped(self) -> list[Any]:
        start = len(self._stack) - 1 - self._stack[::-1].index(_MARK)
        items = self._stack[start + 1:]
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
            if not function.name.startswith("__torch__."):
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
