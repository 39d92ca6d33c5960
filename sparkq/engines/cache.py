"""A cache of the node, in a directory of the user's: one worker keeps there what it compiled or measured for the next."""
from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

__all__ = ["BlobCache", "cache_directory"]

_KEPT_FILES = 16


def cache_directory() -> Path | None:
    """Return ``SPARKQ_CACHE_DIR``, else ``sparkq`` in the user's cache directory; None where there is no home."""
    named = os.environ.get("SPARKQ_CACHE_DIR")
    if named:
        return Path(named)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sparkq"
    except RuntimeError:
        return None


class BlobCache:
    """One file of the node's cache. A cache that cannot be read or written costs time, never a task.

    Parameters
    ----------
    name : str
        File name: says all that the content depends on.
    """

    def __init__(self, name: str) -> None:
        directory = cache_directory()
        self._path = None if directory is None else directory / name

    def read(self) -> bytes | None:
        """Return the content, or None if it is not there or not whole."""
        if self._path is None:
            return None
        try:
            with open(self._path, "rb") as stream:
                digest, blob = stream.read(32), stream.read()
            os.utime(self._path)
        except OSError:
            return None
        return blob if hashlib.sha256(blob).digest() == digest else None

    def write(self, blob: bytes) -> None:
        """Put the content there at once, for this user only, and drop the least recently used files."""
        if self._path is None:
            return
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(dir=self._path.parent, prefix=".", suffix=".part")
            try:
                with os.fdopen(descriptor, "wb") as stream:
                    stream.write(hashlib.sha256(blob).digest())
                    stream.write(blob)
                os.replace(temporary, self._path)
            except OSError:
                os.unlink(temporary)
                raise
            by_age = sorted(self._path.parent.glob(f"*{self._path.suffix}"), key=lambda path: path.stat().st_mtime)
            for path in by_age[:-_KEPT_FILES]:
                path.unlink(missing_ok=True)
