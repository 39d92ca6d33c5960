"""Read whole images by path or uri, many at once: while a Python worker computes, the next ones are on their way.

Whatever cannot be read becomes an `ImageError` with one of `sparkq.error_codes`.
"""
from __future__ import annotations

import os
import random
import re
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from functools import lru_cache
from typing import Protocol

import pyarrow as pa
import pyarrow.fs

from sparkq.error_codes import ErrorCode
from sparkq.errors import ImageError, InputError
from sparkq.images.decode import file_too_large
from sparkq.storage import is_uri, local_path, resolve_place, shown, split_uri

__all__ = ["ReadObject", "read_object", "read_objects", "why_unreadable"]

# Arrow's S3 client holds 25 connections. At 50 ms a request, and two requests an object, this is 240 objects a second.
_READS_IN_FLIGHT = 24
_BYTES_WAITING = 32 * 2**20

# With full jitter these wait 3 s on average and at most 6 before the last attempt, long enough for S3 to scale a prefix out.
_ATTEMPTS = 6
_FIRST_WAIT_SECONDS = 0.2
# Arrow's own are 1 and 3: a store that throttles answers later than that.
_CONNECT_SECONDS, _REQUEST_SECONDS = 5, 15

# What the SDK says where trying again cannot help.
_GONE = re.compile(r"NO_SUCH_KEY|NO_SUCH_BUCKET|RESOURCE_NOT_FOUND|NoSuchBucket|HTTP status 404")
_REFUSED = re.compile(
    r"ACCESS_DENIED|INVALID_ACCESS_KEY|SIGNATURE|EXPIRED_TOKEN|INVALID_TOKEN|UNRECOGNIZED_CLIENT|HTTP status 40[013]"
)


class ReadObject(Protocol):
    """Reads one object whole.

    ``admit`` is to be called with its bytes before they are read: it waits until there is room for so many, and raises
    `ImageError` where they are too many.
    """

    def __call__(self, uri: str, *, admit: Callable[[int], None]) -> bytes:
        """The bytes at `uri`, or an `ImageError`."""


def read_object(
    uri: str, *, admit: Callable[[int], None] = lambda size: None, attempts: int = _ATTEMPTS,
    first_wait_seconds: float = _FIRST_WAIT_SECONDS,
) -> bytes:
    """Read one object whole. On a Python worker, from any thread.

    What may pass (timeouts, resets, 503 and SlowDown) is tried again with exponential backoff and full jitter
    (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog 2015).

    Parameters
    ----------
    uri : str
        Absolute local path, ``file:/x``, or any ``pyarrow.fs`` uri. Taken literally, as Spark and the AWS CLI do: ``%20`` is
        three characters of a name.
    admit : callable
        As in `ReadObject`.
    attempts : int
        At most so many.
    first_wait_seconds : float
        Longest wait before the second attempt; it doubles with each.

    Raises
    ------
    ImageError
        If it cannot be read, see `sparkq.error_codes.ErrorCode`; or whatever `admit` raises.
    """
    read, path = _reader_of(uri)
    for attempt in range(1, attempts + 1):
        try:
            return read(path, admit)
        except (OSError, ValueError, pa.ArrowException, InputError) as error:
            failure, may_pass = _failure(uri, error, attempt)
            if not may_pass or attempt == attempts:
                raise failure from error
        except MemoryError as error:
            raise ImageError(ErrorCode.IMAGE_TOO_LARGE, "reading it needs more memory than the worker has") from error
        time.sleep(random.uniform(0, first_wait_seconds * 2 ** (attempt - 1)))
    raise ValueError(f"attempts: expected at least 1; got {attempts}")


def why_unreadable(uri: str) -> ImageError | None:
    """Return why this process cannot read from the place of `uri`; None where it can, also where the object is gone."""
    try:
        read_object(uri)
    except ImageError as error:
        return None if error.code == ErrorCode.NOT_FOUND.value else error
    return None


def _reader_of(uri: str) -> tuple[Callable[[str, Callable[[int], None]], bytes], str]:
    if not is_uri(uri) and not os.path.isabs(uri):
        raise ImageError(
            ErrorCode.INVALID_URI, f"expected an absolute path or a uri, as workers have no common folder; got {uri!r}",
        )
    if local_path(uri) is not None:
        return _read_local, uri
    try:
        place, path, options = split_uri(uri)
    except InputError:
        raise ImageError(ErrorCode.INVALID_URI, f"expected scheme://place/path; got {shown(uri)}") from None
    return lambda inner, admit: _read_remote(f"{place}/{options}", inner, admit), path


def _read_local(path: str, admit: Callable[[int], None]) -> bytes:
    # By bytes: whatever the name, and whatever encoding this process was started with. Not to wait for whoever writes a pipe;
    # without effect on files.
    name = local_path(path)
    with open(name or path, "rb", buffering=0, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise IsADirectoryError("expected a file; got a folder, pipe or device")
        admit(status.st_size)
        return stream.readall()


def _read_remote(place: str, path: str, admit: Callable[[int], None]) -> bytes:
    filesystem, root = _filesystem(place)
    with filesystem.open_input_file(f"{root.rstrip('/')}{path}") as stream:
        admit(stream.size())
        data: bytes = stream.read()
        return data


@lru_cache(maxsize=64)
def _filesystem(place: str) -> tuple[pyarrow.fs.FileSystem, str]:
    """Opened once a process. Of two threads that ask first, each may open one, and one of them is kept."""
    filesystem, root = resolve_place(place)
    if filesystem.type_name == "s3":
        # A uri cannot say how often to try: Arrow then does so every 0.2 s, all readers in step. Pickling is its public way to
        # make the same filesystem again.
        _, (options,) = filesystem.__reduce__()
        once = pyarrow.fs.AwsStandardS3RetryStrategy(max_attempts=1)
        filesystem = pyarrow.fs.S3FileSystem(**{
            **options, "retry_strategy": once, "connect_timeout": _CONNECT_SECONDS, "request_timeout": _REQUEST_SECONDS,
        })
    return filesystem, root


def _failure(uri: str, error: Exception, attempt: int) -> tuple[ImageError, bool]:
    """The row's error for what was raised, and whether another attempt may help."""
    cause = error.__cause__ if isinstance(error, InputError) else error
    text = shown(" ".join(str(error).split()))[:200]
    if isinstance(cause, FileNotFoundError) or _GONE.search(text):
        hint = "; percent signs are taken as they are" if "%" in uri else ""
        return ImageError(ErrorCode.NOT_FOUND, f"expected an object; got nothing there{hint}"), False
    if isinstance(cause, (ValueError, NotImplementedError)):
        message = f"expected a uri that pyarrow.fs understands (file, s3, hdfs, gs); got {text}"
        return ImageError(ErrorCode.INVALID_URI, message), False
    refused = isinstance(cause, (PermissionError, IsADirectoryError, NotADirectoryError)) or _REFUSED.search(text) is not None
    tried = "" if attempt == 1 else f" ({attempt} attempts)"
    return ImageError(ErrorCode.READ_FAILED, f"expected a readable object; got {text}{tried}"), not refused


def read_objects(
    uris: Iterable[str | None], *, max_bytes: int, read: ReadObject = read_object, in_flight: int = _READS_IN_FLIGHT,
    bytes_waiting: int = _BYTES_WAITING,
) -> Generator[bytes | ImageError, None, None]:
    """Read many objects, several at once. On a Python worker.

    Parameters
    ----------
    uris : iterable of str or None
        As for `read_object`. It is asked for no more than `in_flight` ahead.
    max_bytes : int
        A larger object is not read: ``image_too_large``.
    read : ReadObject
        How one is read.
    in_flight, bytes_waiting : int
        Objects that are read, or wait for the caller, at once; and their bytes, with those of the one that the caller has. One
        that is larger is read when it is the next.

    Yields
    ------
    bytes or ImageError
        One a uri, in order.
    """
    room = _Room(bytes_waiting)
    pending: deque[Future[bytes]] = deque()
    pool = ThreadPoolExecutor(in_flight, thread_name_prefix="sparkq-read")
    try:
        for number, uri in enumerate(uris):
            if len(pending) == in_flight:
                yield _taken(pending)
                room.leave()
            pending.append(pool.submit(_read_one, uri, number, read, room, max_bytes))
        while pending:
            yield _taken(pending)
            room.leave()
    finally:
        room.close()
        pool.shutdown(cancel_futures=True)


def _taken(pending: deque[Future[bytes]]) -> bytes | ImageError:
    try:
        return pending.popleft().result()
    except ImageError as error:
        return error


def _read_one(uri: str | None, number: int, read: ReadObject, room: _Room, max_bytes: int) -> bytes:
    if uri is None:
        raise ImageError(ErrorCode.MISSING_CONTENT, "the uri is null; expected that of an encoded image")

    def admit(size: int) -> None:
        if size > max_bytes:
            raise file_too_large(size, max_bytes)
        room.enter(number, size)

    return read(uri, admit=admit)


class _Room:
    """A bound on the bytes in memory. The oldest object is let in even where it is larger, as nothing leaves before it does."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._sizes: dict[int, int] = {}
        self._oldest = 0
        self._closed = False
        self._changed = threading.Condition()

    def enter(self, number: int, size: int) -> None:
        """Wait until there is room for `size` bytes of object `number`; again where an attempt is repeated."""
        with self._changed:
            self._sizes.pop(number, None)
            self._changed.wait_for(
                lambda: self._closed or number == self._oldest or sum(self._sizes.values()) + size <= self._limit,
            )
            if self._closed:
                raise CancelledError
            self._sizes[number] = size

    def leave(self) -> None:
        """The caller is done with the oldest object."""
        with self._changed:
            self._sizes.pop(self._oldest, None)
            self._oldest += 1
            self._changed.notify_all()

    def close(self) -> None:
        """Nobody takes anything any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
