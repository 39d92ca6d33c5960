"""A cache of the node, in a directory of the user's: one worker keeps there what it compiled or measured for the next."""
from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sparkq.engines.private_directory import hold_lock, make_private, open_private, private_directory

__all__ = ["BlobCache", "cache_directory"]

_KEPT_FILES = 16
_SECRET, _SECRET_BYTES = "cache.key", 32
_TAG_BYTES = hashlib.sha256().digest_size


def cache_directory() -> Path | None:
    """Return ``SPARKQ_CACHE_DIR``, else ``sparkq`` in the user's cache directory; None where there is no home.

    If other users could write there, it is a directory of this user's in the temporary one instead, or None.
    """
    named = os.environ.get("SPARKQ_CACHE_DIR")
    try:
        wanted = Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sparkq"
    except RuntimeError:
        return None
    return private_directory(wanted)


class BlobCache:
    """One file of the node's cache. A cache that cannot be read or written costs time, never a task.

    What is read was written by this user for this name: each file bears a keyed hash of both (HMAC, RFC 2104), and the key
    is in the directory, readable by this user only.

    Parameters
    ----------
    name : str
        File name: says all that the content depends on.
    """

    def __init__(self, name: str) -> None:
        self._directory = cache_directory()
        self._name = name

    def read(self) -> bytearray | None:
        """Return the content if it is there, whole and this user's; else None."""
        if self._directory is None:
            return None
        path = self._directory / self._name
        try:
            with open_private(path) as stream:
                # One piece of memory that can be written: libraries take such a one as it is.
                tag, blob = stream.read(_TAG_BYTES), bytearray(max(os.fstat(stream.fileno()).st_size - _TAG_BYTES, 0))
                stream.readinto(blob)  # type: ignore[attr-defined]
            os.utime(path, follow_symlinks=False)
            secret = _read_secret(self._directory)
        except OSError:
            return None
        return blob if hmac.compare_digest(self._tag(secret, blob), tag) else None

    def write(self, blob: bytes | bytearray | memoryview) -> None:
        """Put the content there at once, for this user only, and drop the least recently used files."""
        if self._directory is None:
            return
        with contextlib.suppress(OSError):
            make_private(self._directory)
            _put(self._directory / self._name, self._tag(_secret(self._directory), blob), blob)
            kept = list(self._directory.glob(f"*{Path(self._name).suffix}"))
            for path in sorted(kept, key=lambda path: path.lstat().st_mtime)[:-_KEPT_FILES]:
                path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def workspace(self) -> Iterator[Path | None]:
        """Hold a directory of this user's for the files of a library, gone at the end; None where there is no cache."""
        folder = None
        if self._directory is not None:
            with contextlib.suppress(OSError):
                make_private(self._directory)
                folder = Path(tempfile.mkdtemp(dir=self._directory, prefix=".", suffix=".part"))
        try:
            yield folder
        finally:
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)

    def _tag(self, secret: bytes, blob: bytes | bytearray | memoryview) -> bytes:
        made = hmac.new(secret, self._name.encode() + b"\0", hashlib.sha256)
        made.update(blob)
        return made.digest()


def _read_secret(directory: Path) -> bytes:
    with open_private(directory / _SECRET) as stream:
        secret = stream.read()
        readable = os.fstat(stream.fileno()).st_mode & 0o077
    if readable or len(secret) != _SECRET_BYTES:
        raise PermissionError(f"{directory / _SECRET} is no secret")
    return secret


def _secret(directory: Path) -> bytes:
    """This user's key, made by the first worker that needs one."""
    with hold_lock(directory, f"{_SECRET}.lock"):
        with contextlib.suppress(OSError):
            return _read_secret(directory)
        _put(directory / _SECRET, secrets.token_bytes(_SECRET_BYTES))
        return _read_secret(directory)


def _put(path: Path, *parts: bytes | bytearray | memoryview) -> None:
    """Write a file at once, for this user only."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            for part in parts:
                stream.write(part)
        os.replace(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise
