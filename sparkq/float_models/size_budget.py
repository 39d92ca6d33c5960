"""How much a model file may become in memory: some times its own size, whatever sizes it announces."""
from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from sparkq.float_models.graph_builder import UnsupportedError

__all__ = ["SizeBudget", "tensor_bytes"]

_TIMES, _FREE_BYTES = 16, 16 * 2**20
"""Weights that are shared, expanded or cast take a few times the file; tables of a small file a few megabytes."""


class SizeBudget:
    """Bytes that are left.

    Parameters
    ----------
    file_bytes : int
        Size of the file.
    """

    def __init__(self, file_bytes: int) -> None:
        self._left = _TIMES * file_bytes + _FREE_BYTES

    def take(self, count: int) -> None:
        """Note that `count` bytes are about to be allocated.

        Raises
        ------
        UnsupportedError
            If they are more than are left.
        """
        self._left -= count
        if self._left < 0:
            raise UnsupportedError(f"constants of {count} bytes and more, many times the size of the file")


def tensor_bytes(tensors: Iterable[object]) -> int:
    """Count the bytes that tensors take in memory, those on the meta device included; anything else counts nothing."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors if isinstance(tensor, Tensor))
