"""The next items are made by another thread while the last ones are used."""
from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from typing import Generic, TypeVar

__all__ = ["prefetched"]

Item = TypeVar("Item")
# For an input that gives nothing more and does not end, either; Spark's always does one of them.
_LONGEST_GOODBYE_SECONDS = 60


def prefetched(
    source: Generator[Item, None, None], *, size: Callable[[Item], int], max_bytes: int,
) -> Generator[Item, None, None]:
    """The items of `source`, in order, made ahead by one thread that starts with the first and ends with the last.

    Parameters
    ----------
    source : generator
        Runs, fails and is closed in that thread; what it raises is raised here, after the items before.
    size : callable
        Bytes of an item.
    max_bytes : int
        So many may wait; one that is larger waits alone.

    Yields
    ------
    object
        If no more are wanted (the generator is closed, or fails), the thread ends before this returns.
    """
    ahead = _Ahead(source, size, max_bytes)
    thread = threading.Thread(target=ahead.fill, name="sparkq-prefetch", daemon=True)
    thread.start()
    try:
        yield from ahead.items()
    finally:
        ahead.stop()
        thread.join(_LONGEST_GOODBYE_SECONDS)


class _Ahead(Generic[Item]):
    def __init__(self, source: Generator[Item, None, None], size: Callable[[Item], int], max_bytes: int) -> None:
        self._source, self._size, self._max_bytes = source, size, max_bytes
        self._waiting: deque[tuple[Item, int]] = deque()
        self._bytes = 0
        self._ended = self._stopped = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()

    def fill(self) -> None:
        """Fill the queue, in a thread of its own."""
        error: BaseException | None = None
        try:
            for item in self._source:
                if not self._put(item):
                    break
            self._source.close()
        # Also what is no Exception: the caller would wait for ever.
        except BaseException as raised:
            error = raised
        with self._changed:
            self._error, self._ended = error, True
            self._changed.notify_all()

    def _put(self, item: Item) -> bool:
        size = self._size(item)
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or not self._waiting or self._bytes + size <= self._max_bytes)
            self._waiting.append((item, size))
            self._bytes += size
            self._changed.notify_all()
            return not self._stopped

    def items(self) -> Iterator[Item]:
        """Take items from the queue, in the caller's thread."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._ended)
                if not self._waiting:
                    break
                item, size = self._waiting.popleft()
                self._bytes -= size
                self._changed.notify_all()
            yield item
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Nobody takes anything any more."""
        with self._changed:
            self._stopped = True
            self._waiting.clear()
            self._changed.notify_all()
