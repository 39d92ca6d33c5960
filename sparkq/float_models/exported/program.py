"""A `torch.export` program reduced to what a graph is made of, whether it comes from a file or from this process."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

__all__ = ["Call", "Program", "Ref"]


@dataclass(frozen=True)
class Ref:
    """A value by its name in the graph."""

    name: str


@dataclass(frozen=True)
class Call:
    """One operator.

    Parameters
    ----------
    operator : str
        ``aten.conv2d.default`` and the like.
    arguments : mapping
        By their names in the operator's schema: plain values, `Ref`, and lists of these.
    outputs : tuple of str
        Names of its results.
    """

    operator: str
    arguments: Mapping[str, Any]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Program:
    """An exported classifier.

    Parameters
    ----------
    name : str
        Of the file or of the model's class.
    inputs : mapping of str to tuple of int
        Shape of each input of the user's, batch first; -1 for a dimension that is free.
    tensors : mapping of str to (str, Tensor)
        Parameters, buffers and constants: name in the graph to name in the model, and value.
    calls : tuple of Call
        In order.
    outputs : tuple of str
        Names of what it returns.
    """

    name: str
    inputs: Mapping[str, tuple[int, ...]]
    tensors: Mapping[str, tuple[str, Tensor]]
    calls: tuple[Call, ...]
    outputs: tuple[str, ...]
