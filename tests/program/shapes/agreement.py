"""The comparison of a rule of shapes with torch, on small tensors: its meta tensors take what its kernels refuse."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from sparkq.program.operators import OPERATORS
from sparkq.program.shapes.call import Call, Result
from sparkq.program.types import Attribute

__all__ = ["Given", "agreed", "inferred"]

Given = Result | float | None
"""An input: dtype and sizes, a number, or None."""


def _tensor(given: Given) -> Tensor | float | None:
    """A tensor of these sizes; anything else as it is."""
    return torch.zeros(given[1], dtype=getattr(torch, given[0])) if isinstance(given, tuple) else given


def inferred(
    operator: str, inputs: Sequence[Given], attributes: Mapping[str, Attribute], declared: Result = ("float32", ()),
) -> Result | None:
    """What the operator's rule says; None where it refuses."""
    try:
        return OPERATORS[operator].infer(Call(tuple(inputs), attributes, declared))
    except ValueError:
        return None


def agreed(
    operator: str, inputs: Sequence[Given], attributes: Mapping[str, Attribute], torch_s: Callable[..., Tensor], *,
    declared: Result = ("float32", ()), strict: bool = False,
) -> bool:
    """Fail unless the rule and torch say the same; return whether they took it.

    Parameters
    ----------
    operator : str
        Its name in a program.
    inputs : sequence of Given
        Of the operator, in its order.
    attributes : mapping of str to Attribute
        Of the operator.
    torch_s : callable
        The same in torch, of the inputs.
    declared : (str, tuple of int)
        What the node says that it gives.
    strict : bool
        Whether the rule may refuse what torch takes.
    """
    found = inferred(operator, inputs, attributes, declared)
    try:
        result = torch_s(*map(_tensor, inputs))
    except (RuntimeError, IndexError, ValueError, TypeError, NotImplementedError):
        assert found is None, f"only the rule takes it: {found}"
        return False
    said = str(result.dtype).removeprefix("torch."), tuple(result.shape)
    # No value of a program is empty.
    if not result.numel():
        assert found is None
        return False
    assert found == said or strict and found is None
    return found is not None
