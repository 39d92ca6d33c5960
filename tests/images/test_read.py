"""Reading objects in the worker: what is read, what is said where that fails, and bounds that hold."""
from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparkq.error_codes import ErrorCode
from sparkq.errors import ImageError
from sparkq.images.read import read_object, read_objects

LARGE = 2**30


def code_of(uri: str | None) -> str:
    """The code of the error that reading it is; the message is one sentence of bounded length."""
    found = next(read_objects([uri], max_bytes=LARGE))
    assert isinstance(found, ImageError)
    assert 10 < len(str(found)) < 300 and "\n" not in str(found)
    return found.code


def reader_threads() -> list[threading.Thread]:
    """Threads that reading started and that still run."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("sparkq-read")]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """After every test here."""
    yield
    assert reader_threads() == []


@pytest.mark.parametrize("name", ["plain.jpg", "with space.jpg", "100%.jpg", "a%20b.jpg", "hash#1?x=1.jpg", "naïve-日本.jpg"])
@pytest.mark.parametrize("scheme", ["", "file:", "file://", "file://localhost"])
def test_local_files_by_every_spelling(tmp_path: Path, name: str, scheme: str) -> None:
    """Paths are literal, as Spark prints them."""
    (tmp_path / name).write_bytes(b"bytes of it")
    assert read_object(f"{scheme}{tmp_path}/{name}") == b"bytes of it"


@pytest.mark.parametrize(("uri", "code"), [
    (None, "missing_content"), ("", "invalid_uri"), ("photo.jpg", "invalid_uri"), ("./photo.jpg", "invalid_uri"),
    ("s3:/bucket/photo.jpg", "invalid_uri"), ("warp://host/photo.jpg", "invalid_uri"), ("s3:///photo.jpg", "invalid_uri"),
    ("/no/such/photo.jpg", "not_found"), ("file:/no/such/photo.jpg", "not_found"),
    ("file:///etc", "read_failed"), ("/etc/passwd/photo.jpg", "read_failed"), ("/dev/null", "read_failed"),
    ("/no/nul\0byte.jpg", "invalid_uri"),
])
def test_each_failure_has_its_code(uri: str | None, code: str) -> None:
    """None of them is an exception."""
    assert code_of(uri) == code


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    """Nobody writes to it: opening it would wait for ever."""
    os.mkfifo(tmp_path / "pipe.jpg")
    assert code_of(str(tmp_path / "pipe.jpg")) == "read_failed"


def test_percent_signs_are_hinted_at(tmp_path: Path) -> None:
    """Who escaped a path finds out why it is not there."""
    (tmp_path / "a b.jpg").touch()
    found = next(read_objects([(tmp_path / "a b.jpg").as_uri()], max_bytes=LARGE))
    assert isinstance(found, ImageError) and found.code == "not_found" and "percent" in str(found)


def test_credentials_are_not_in_messages() -> None:
    """A uri may carry them; messages end up in tables."""
    found = next(read_objects(["warp://KEY:SECRET@host/x"], max_bytes=LARGE))
    assert isinstance(found, ImageError) and "SECRET" not in str(found)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    """100 GB that take no room on the disk: reading them would."""
    with (tmp_path / "huge.jpg").open("wb") as stream:
        stream.truncate(100 * 10**9)
    (tmp_path / "fits.jpg").write_bytes(bytes(1000))
    huge, fits = read_objects([str(tmp_path / "huge.jpg"), str(tmp_path / "fits.jpg")], max_bytes=1000)
    assert isinstance(huge, ImageError) and huge.code == "image_too_large" and "100000000000 bytes" in str(huge)
    assert fits == bytes(1000)


class Store:
    """A `ReadObject` of named objects that watches how it is used: ``"12 x"`` is 12 bytes."""

    def __init__(self, seconds: Callable[[str], float] = lambda uri: 0.0) -> None:
        self.seconds = seconds
        self.now = self.most = 0
        self.lock = threading.Lock()

    def __call__(self, uri: str, *, admit: Callable[[int], None]) -> bytes:
        """Zeros."""
        size = int(uri.split()[0])
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            admit(size)
            time.sleep(self.seconds(uri))
            return bytes(size)
        finally:
            with self.lock:
                self.now -= 1


def test_order_is_kept_whatever_takes_longer() -> None:
    """The first takes longest, the last is there first."""
    uris = [f"{number} x" for number in range(40)]
    store = Store(lambda uri: (40 - int(uri.split()[0])) / 4000)
    assert [len(data) for data in read_objects(uris, max_bytes=LARGE, read=store)] == list(range(40))
    assert store.most > 5


def test_latency_hides() -> None:
    """Of 100 reads of 50 ms, 25 wait at once."""
    store = Store(lambda uri: 0.05)
    assert len(list(read_objects(["1 x"] * 100, max_bytes=LARGE, read=store, in_flight=25))) == 100
    assert store.most == 25


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(0, 30), max_size=60), in_flight=st.integers(1, 8), room=st.integers(1, 40))
def test_both_bounds_hold(sizes: list[int], in_flight: int, room: int) -> None:
    """In objects and in bytes: one that is larger than the room comes in when nothing else is older. It never ends in a knot."""
    held, most, lock = 0, 0, threading.Lock()

    def read(uri: str, *, admit: Callable[[int], None]) -> bytes:
        nonlocal held, most
        admit(int(uri))
        with lock:
            held += int(uri)
            most = max(most, held)
        return bytes(int(uri))

    pulled = 0

    def uris() -> Iterator[str]:
        nonlocal pulled
        for size in sizes:
            pulled += 1
            yield str(size)

    taken = 0
    for data in read_objects(uris(), max_bytes=LARGE, read=read, in_flight=in_flight, bytes_waiting=room):
        assert isinstance(data, bytes) and len(data) == sizes[taken]
        taken += 1
        assert pulled <= taken + in_flight
        with lock:
            held -= len(data)
    assert taken == len(sizes)
    assert most <= room + max([0, *sizes])


def test_errors_stand_in_their_places() -> None:
    """One object's error is its own, also where it is the oldest that others wait behind."""
    def read(uri: str, *, admit: Callable[[int], None]) -> bytes:
        if uri == "bad":
            raise ImageError(ErrorCode.READ_FAILED, "expected a readable object; got none")
        admit(60)
        return uri.encode()

    uris = ["bad" if number % 3 == 0 else str(number) for number in range(30)]
    found = list(read_objects(uris, max_bytes=LARGE, read=read, in_flight=4, bytes_waiting=50))
    assert [isinstance(one, ImageError) for one in found] == [uri == "bad" for uri in uris]


def test_what_is_no_failure_of_an_image_is_raised() -> None:
    """A mistake in the program is not a bad image."""
    def read(uri: str, *, admit: Callable[[int], None]) -> bytes:
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError):
        list(read_objects(["x"] * 50, max_bytes=LARGE, read=read))


def test_a_reader_that_is_closed_early_ends_its_threads() -> None:
    """Also those that wait for room."""
    found = read_objects(["50 x"] * 100, max_bytes=LARGE, read=Store(), in_flight=8, bytes_waiting=60)
    assert len(next(found)) == 50
    assert reader_threads()
    found.close()
    assert reader_threads() == []
