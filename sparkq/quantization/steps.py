"""What a quantization is at, for whoever shows it: steps tell how far they are, and do not know who listens."""
from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

__all__ = ["Listener", "counted", "heard", "is_heard", "part_of"]

Item = TypeVar("Item")
Listener = Callable[[str, int, int], None]
"""Hears the name of a step, how many of its parts are done, and of how many; 0 of them when it begins."""

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)
_whole: ContextVar[str] = ContextVar("whole", default="")


@contextmanager
def heard(listener: Listener | None) -> Iterator[None]:
    """Let a listener hear of the steps within; None hears of none."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def is_heard() -> bool:
    """Tell whether there is a listener."""
    return _listener.get() is not None


@contextmanager
def part_of(whole: str) -> Iterator[None]:
    """Name what the steps within are part of."""
    token = _whole.set(whole)
    try:
        yield
    finally:
        _whole.reset(token)


def counted(step: str, items: Iterator[Item] | Collection[Item], total: int | None = None) -> Iterator[Item]:
    """Go through items and tell after each how many are done.

    Parameters
    ----------
    step : str
        What is done with them.
    items : iterable
        Parts of the step.
    total : int, optional
        How many there are, where `items` does not know it.
    """
    listener = _listener.get()
    if listener is None:
        yield from items
        return
    count = total if total is not None else len(items) if isinstance(items, Collection) else 0
    name = f"{_whole.get()}: {step}" if _whole.get() else step
    listener(name, 0, count)
    for number, item in enumerate(items, 1):
        yield item
        listener(name, number, count)
