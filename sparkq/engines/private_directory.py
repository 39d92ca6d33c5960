"""A directory that no other user can put anything into, and files in it that are no links.

Asked of a path as sshd asks of a home before it believes what lies in it (``StrictModes``, OpenSSH's ``safe_path``).
"""
from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from sparkq.redaction import get_logger

__all__ = ["hold_lock", "make_private", "open_private", "private_directory", "private_temporary_directory"]

_logger = get_logger(__name__)
_ROOT = 0


def private_directory(wanted: Path) -> Path | None:
    """`wanted` without links in its path, if it is safe; else a directory of this user's in the temporary one; else None.

    Neither is created; that does `make_private`. What is refused is said once, as a warning with the reason.
    """
    objection = _objection(wanted)
    if objection is None:
        return Path(os.path.realpath(wanted))
    instead = private_temporary_directory()
    _warn(
        f"cache directory {wanted}: expected one that no other user can write to; {objection}. "
        f"{'Nothing is kept' if instead is None else f'It is kept in {instead}'} instead. Hint: set SPARKQ_CACHE_DIR to a "
        "directory of this user's."
    )
    return instead


def private_temporary_directory() -> Path | None:
    """This user's directory in the temporary one, ``/tmp/sparkq-UID``, not created; None if it is not safe."""
    directory = Path(os.path.realpath(tempfile.gettempdir())) / f"sparkq-{os.getuid()}"
    return directory if _objection(directory) is None else None


def make_private(directory: Path) -> None:
    """Create a directory, and what is missing above it, for this user only.

    Raises
    ------
    OSError
        If it cannot be created, or another user has meanwhile put something in its place.
    """
    missing = [place for place in (directory, *directory.parents) if not place.exists()]
    for place in reversed(missing):
        with contextlib.suppress(FileExistsError):
            place.mkdir(mode=0o700)
    objection = _objection(directory)
    if objection is not None:
        raise PermissionError(objection)


def open_private(path: Path, flags: int = os.O_RDONLY) -> BinaryIO:
    """Open a file that must be this user's, no link, and neither a pipe nor a device.

    Raises
    ------
    OSError
        If it is anything else, or is not there.
    """
    # A pipe would block until somebody writes to it.
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.getuid() or status.st_nlink > 1:
        os.close(descriptor)
        raise PermissionError(f"{path} is no file of this user's alone")
    return os.fdopen(descriptor, "rb" if flags & os.O_ACCMODE == os.O_RDONLY else "r+b")


@contextlib.contextmanager
def hold_lock(directory: Path, name: str, *, wait: bool = True) -> Iterator[bool]:
    """Hold a lock file of `directory` until the end; whether this process holds it, which is always so if it may wait.

    The operating system frees it when its process ends, however it ends.

    Raises
    ------
    OSError
        If the directory cannot hold it.
    """
    make_private(directory)
    with open_private(directory / name, os.O_RDWR | os.O_CREAT) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True


def _objection(directory: Path) -> str | None:
    """Why another user could change what lies in `directory`; None if none can. What is not there is left to `make_private`."""
    absolute, real = Path(os.path.abspath(directory)), Path(os.path.realpath(directory))
    user = os.getuid()
    for place in dict.fromkeys((real, *real.parents, absolute, *absolute.parents)):
        try:
            status = os.lstat(place)
        except OSError:
            continue
        if status.st_uid not in ((user,) if place == real else (user, _ROOT)):
            return f"{place} belongs to user {status.st_uid}, this process to {user}"
        if stat.S_ISLNK(status.st_mode):
            continue
        # In a sticky directory others can add, but neither rename nor remove what is not theirs.
        is_sticky = bool(status.st_mode & stat.S_ISVTX) and place != real
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not is_sticky:
            return f"{place} can be written by others (mode {stat.S_IMODE(status.st_mode):04o})"
    return None


@functools.cache
def _warn(message: str) -> None:
    _logger.warning("%s", message)
