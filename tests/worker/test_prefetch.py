"""The thread that makes the next items: order, bounds, errors, and an end in every case."""
from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparkq.worker.prefetch import prefetched


def threads() -> list[threading.Thread]:
    """Prefetch threads that still run."""
    return [thread for thread in threading.enumerate() if thread.name == "sparkq-prefetch"]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """After every test here."""
    yield
    assert threads() == []


def _made(sizes: list[int], made: list[int] | None = None) -> Generator[int, None, None]:
    for size in sizes:
        if made is not None:
            made.append(size)
        yield size


def _wait_until(happened: Callable[[], bool]) -> None:
    """However busy the machine is."""
    until = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.001)


@settings(max_examples=100, deadline=None)
@given(sizes=st.lists(st.integers(0, 20), max_size=50), max_bytes=st.integers(1, 30), stop=st.integers(0, 60))
def test_the_same_items_in_order(sizes: list[int], max_bytes: int, stop: int) -> None:
    """All of them, or as many as are wanted."""
    items = prefetched(_made(sizes), size=lambda item: item, max_bytes=max_bytes)
    assert list(islice(items, stop)) == sizes[:stop]
    items.close()
    assert threads() == []


def test_no_more_waits_than_fits() -> None:
    """Of items of 10 bytes three wait in 35, and one more has been made that does not fit."""
    made: list[int] = []
    items = prefetched(_made([10] * 20, made), size=lambda item: item, max_bytes=35)
    assert next(items) == 10
    _wait_until(lambda: len(made) == 1 + 3 + 1)
    # What would be made beyond the bound would be made now.
    time.sleep(0.05)
    assert len(made) == 1 + 3 + 1
    items.close()


def test_an_item_larger_than_the_bound_waits_alone() -> None:
    made: list[int] = []
    items = prefetched(_made([100] * 5, made), size=lambda item: item, max_bytes=35)
    assert next(items) == 100
    _wait_until(lambda: len(made) == 1 + 1 + 1)
    time.sleep(0.05)
    assert len(made) == 1 + 1 + 1
    assert list(items) == [100] * 4


def test_it_works_ahead_while_the_caller_works() -> None:
    """The next item is made, in another thread, while this one is in use."""
    made: list[int] = []
    makers: set[int] = set()
    for number, _ in enumerate(prefetched(_in_thread(_made([1] * 10, made), makers), size=lambda item: 1, max_bytes=5)):
        _wait_until(lambda: len(made) > min(number + 1, 9))
    assert makers and threading.get_ident() not in makers


def _in_thread(source: Iterator[int], used: set[int]) -> Generator[int, None, None]:
    for item in source:
        used.add(threading.get_ident())
        yield item


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt(), SystemExit(3), MemoryError()], ids=repr)
def test_an_exception_comes_after_the_items_before_it(error: BaseException) -> None:
    """Of whatever kind: a caller that waits for an item that will never come would hang."""
    def fails() -> Generator[int, None, None]:
        yield 1
        yield 2
        raise error

    items = prefetched(fails(), size=lambda item: 1, max_bytes=10)
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(type(error)) as caught:
        next(items)
    assert caught.value is error


def test_the_source_is_closed_in_its_own_thread() -> None:
    """A generator must not be closed while it runs; and what it holds is let go."""
    ended: list[int] = []

    def endless() -> Generator[int, None, None]:
        try:
            while True:
                yield 1
        finally:
            ended.append(threading.get_ident())

    items = prefetched(endless(), size=lambda item: 1, max_bytes=3)
    next(items)
    items.close()
    assert len(ended) == 1 and ended[0] != threading.get_ident()


def test_a_failing_caller_ends_the_thread() -> None:
    def use() -> None:
        items = prefetched(_made([1] * 1000), size=lambda item: 1, max_bytes=3)
        try:
            for _ in items:
                raise RuntimeError("the engine failed")
        finally:
            items.close()

    with pytest.raises(RuntimeError, match="the engine failed"):
        use()


def test_one_that_never_started_has_no_thread() -> None:
    items = prefetched(_made([1]), size=lambda item: 1, max_bytes=3)
    items.close()
    assert list(items) == []
