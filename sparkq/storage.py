"""Whole files, read and written by local path or by any ``pyarrow.fs`` uri."""
from __future__ import annotations

import contextlib
import os
import re
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.fs

from sparkq.errors import InputError

__all__ = ["is_uri", "read_file", "resolve_uri", "shown", "write_file"]


def is_uri(path: str) -> bool:
    """Whether `path` names a filesystem (``s3://...``), not a local path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", path) is not None


def shown(path: str) -> str:
    """`path`, or a text with paths, as it may stand in a message or a log: without the credentials that a uri can carry."""
    return re.sub(r"([A-Za-z][A-Za-z0-9+.-]+://)[^/@\s]*@", r"\1***@", path)


def resolve_uri(uri: str) -> tuple[pyarrow.fs.FileSystem, str]:
    """The ``pyarrow.fs`` filesystem of `uri`, and the path in it; also of Hadoop's spellings (``s3a://x``, ``file:/x``).

    Raises
    ------
    InputError
        If there is no such filesystem, or it cannot be reached.
    """
    # Hadoop's name of S3 is s3a; Arrow's is s3. One user, one bucket. "file:/x" is how Hadoop prints "file:///x".
    arrow_uri = re.sub(r"^file:/(?!/)", "file:///", re.sub(r"^s3[an]://", "s3://", uri))
    try:
        filesystem, path = pyarrow.fs.FileSystem.from_uri(arrow_uri)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(
            f"{shown(uri)}: expected a uri that pyarrow.fs understands (file, s3, hdfs, gs); got {shown(str(error))}."
        ) from error
    return filesystem, path


def read_file(path: str, *, what: str) -> bytes:
    """Read one file whole.

    Parameters
    ----------
    path : str
        Local path or uri.
    what : str
        What the file is, for the message.

    Raises
    ------
    InputError
        If it is missing or cannot be read.
    """
    try:
        if not is_uri(path):
            return Path(path).read_bytes()
        filesystem, inner = resolve_uri(path)
        with filesystem.open_input_file(inner) as stream:
            data: bytes = stream.read()
            return data
    except FileNotFoundError as error:
        raise InputError(f"{what} {shown(path)}: expected a file; got nothing there.", hint="check the path.") from error
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{what} {shown(path)}: expected a readable file; got {error}.") from error


def write_file(path: str, data: bytes, *, what: str) -> None:
    """Write one file so that it appears whole or not at all.

    Locally and on filesystems with a rename: a temporary file beside it, then a rename. An object store makes an
    object visible only when its upload completes, so there it is written directly.

    Raises
    ------
    InputError
        If the place cannot be written.
    """
    try:
        if is_uri(path):
            _write_uri(path, data)
        else:
            _write_local(Path(path), data)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{what} {shown(path)}: expected a writable place; got {error}.") from error


def _write_local(target: Path, data: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp makes private files; an artifact is for whoever may read the folder.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise


def _write_uri(uri: str, data: bytes) -> None:
    filesystem, path = resolve_uri(uri)
    if filesystem.type_name in ("s3", "gcs", "abfs"):
        _write_stream(filesystem, path, data)
    else:
        _write_and_move(filesystem, path, data)


def _write_stream(filesystem: pyarrow.fs.FileSystem, path: str, data: bytes) -> None:
    with filesystem.open_output_stream(path) as stream:
        stream.write(data)


def _write_and_move(filesystem: pyarrow.fs.FileSystem, path: str, data: bytes) -> None:
    filesystem.create_dir(os.path.dirname(path), recursive=True)
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        _write_stream(filesystem, temporary, data)
        filesystem.move(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError, pa.ArrowException):
            filesystem.delete_file(temporary)
        raise
