"""Whole files, read and written by local path or by any ``pyarrow.fs`` uri."""
from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import stat
import tempfile
import urllib.parse
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.fs

from sparkq.errors import InputError
from sparkq.redaction import carries_credentials, shown

__all__ = [
    "COLLAPSES_SLASHES", "DOUBLED_SLASHES", "FILE_SCHEME", "S3_ALIAS", "canonical_path", "is_uri", "local_path",
    "open_stored_zip", "read_file", "resolve_place", "resolve_uri", "shown", "split_uri", "write_file",
]

_LOCAL = re.compile(r"file:(?://(?:localhost)?(?=/)|(?!//))(/.*)", re.DOTALL)
_PERCENT_ENCODED = "file+percent:"
# The options that a uri may give at its end, as ``?region=eu-west-1``; whatever else follows a "?" belongs to the key.
_OPTION = (
    r"(?:region|scheme|endpoint_override|allow_bucket_creation|allow_bucket_deletion|allow_delayed_open|anonymous|"
    r"background_writes|check_directory_existence_before_creation|force_virtual_addressing|tls_ca_file_path|project_id|"
    r"retry_limit_seconds|default_metadata|user|replication|buffer_size|default_block_size|kerb_ticket)=[^/&]*"
)
_REMOTE = re.compile(rf"([A-Za-z][A-Za-z0-9+.-]+://)([^/]*)(/.*?|)(\?{_OPTION}(?:&{_OPTION})*)?", re.DOTALL)
# One user, one bucket: Hadoop's connectors name S3 s3a and s3n, EMR and Arrow name it s3.
S3_ALIAS = r"^s3[an]://"
FILE_SCHEME = r"^file:(//localhost(?=/))?/*(?=/)"
COLLAPSES_SLASHES = r"^(/|hdfs:|viewfs:)"
DOUBLED_SLASHES = r"(?<![:/])/{2,}"


def is_uri(path: str) -> bool:
    """Whether `path` names a filesystem (``s3://...``), not a local path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", path) is not None


def local_path(path: str) -> bytes | None:
    """Return the local path that a path or a uri of scheme ``file`` names, as bytes; None for a uri of another scheme.

    ``file:`` uris are taken literally. ``file+percent:`` is how a listing spells names that are not UTF-8.
    """
    if not is_uri(path):
        return path.encode("utf-8", "surrogateescape")
    if path.startswith(_PERCENT_ENCODED):
        return urllib.parse.unquote_to_bytes(path.removeprefix(_PERCENT_ENCODED))
    found = _LOCAL.fullmatch(path)
    return None if found is None else found[1].encode("utf-8", "surrogateescape")


def canonical_path(path: str) -> str:
    """Return the one spelling of a path by which two rows are told to be of one image.

    ``/x`` for ``file:/x``, ``file:///x`` and ``file://localhost/x``; ``s3://`` for ``s3a://`` and ``s3n://``; one slash for
    several in local paths and on HDFS. Keys of object stores may hold doubled slashes, and percent signs are taken literally
    everywhere: ``a%20b`` and ``a b`` are two files. `sparkq.spark.input.paths.canonical` does the same to a column.
    """
    for pattern, spelling in ((FILE_SCHEME, ""), (S3_ALIAS, "s3://")):
        path = re.sub(pattern, spelling, path)
    return re.sub(DOUBLED_SLASHES, "/", path) if re.match(COLLAPSES_SLASHES, path) else path


def split_uri(uri: str) -> tuple[str, str, str]:
    """Split a uri into the place that it names (``s3://bucket``), the path there (``/key``, literally), and its options.

    Raises
    ------
    InputError
        If it has no such form.
    """
    found = _REMOTE.fullmatch(uri)
    if found is None:
        raise InputError(f"{shown(uri)}: expected scheme://place/path; got something else.")
    scheme, place, path, options = found.groups("")
    if carries_credentials(uri) and "@" not in place:
        raise InputError(
            f"{shown(uri)}: expected credentials with each / written as %2F; got a uri in which they do not end.",
            hint="better give them by the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) or by the machine's role.",
        )
    return f"{scheme}{place}", path, options


def resolve_uri(uri: str) -> tuple[pyarrow.fs.FileSystem, str]:
    """Open the ``pyarrow.fs`` filesystem of `uri` and return it with the path in it.

    Hadoop's spellings (``s3a://x``, ``file:/x``) are understood. Keys of object stores are taken literally, as Spark and the
    stores' own tools take them: ``a%20b`` and ``a b`` are two. In ``file:`` uris spaces and letters outside ASCII may stand as
    they are or percent-encoded, and a percent sign is ``%25``.

    Raises
    ------
    InputError
        If there is no such filesystem, or it cannot be reached.
    """
    local = local_path(uri)
    if local is not None:
        return pyarrow.fs.LocalFileSystem(), os.fsdecode(urllib.parse.unquote_to_bytes(local))
    if uri.startswith("file:"):
        raise InputError(f"{shown(uri)}: expected file:///path, a file of this machine; got another host.")
    place, path, options = split_uri(uri)
    filesystem, root = resolve_place(f"{place}/{options}", named=uri)
    return filesystem, f"{root.rstrip('/')}{path}"


def resolve_place(place: str, *, named: str | None = None) -> tuple[pyarrow.fs.FileSystem, str]:
    """Open the ``pyarrow.fs`` filesystem of ``scheme://place/?options`` and return it with the path of its root.

    `named` is the uri that the message names, where that is a longer one.

    Raises
    ------
    InputError
        If there is no such filesystem, or it cannot be reached.
    """
    try:
        filesystem, root = pyarrow.fs.FileSystem.from_uri(re.sub(S3_ALIAS, "s3://", place))
    except (pa.ArrowException, OSError, ValueError) as error:
        text = shown(str(error))
        # It prints the uri whole, and a notebook prints the cause of an error.
        cause = error if text == str(error) else type(error)(text)
        raise InputError(
            f"{shown(named or place)}: expected a uri that pyarrow.fs understands (file, s3, hdfs, gs); got {text}."
        ) from cause
    return filesystem, root


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
        If it is missing, cannot be read, is no ordinary file (reading a pipe or a device may never end), or is larger than
        this machine's memory.
    """
    try:
        if not is_uri(path):
            return _read_local(path)
        filesystem, inner = resolve_uri(path)
        if filesystem.type_name == "local":
            return _read_local(inner)
        with filesystem.open_input_file(inner) as stream:
            _require_fitting(stream.size())
            data: bytes = stream.read()
            return data
    except FileNotFoundError as error:
        raise InputError(f"{what} {shown(path)}: expected a file; got nothing there.", hint=_check_path(path)) from error
    # MemoryError: what this process may have can be less than what the machine has.
    except (OSError, MemoryError, pa.ArrowException) as error:
        raise InputError(f"{what} {shown(path)}: expected a readable file; got {error or 'too little memory'}.") from error


def _check_path(path: str) -> str:
    encoded = is_uri(path) and local_path(path) is None and "%" in path
    return f"check the path{'; percent signs are taken as they are' if encoded else ''}."


def _read_local(path: str) -> bytes:
    # Without O_NONBLOCK, opening a pipe waits for somebody who writes to it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if not stat.S_ISREG(status.st_mode):
            raise OSError("a pipe or a device")
        _require_fitting(status.st_size)
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            return stream.read()
    finally:
        os.close(descriptor)


def _require_fitting(size: int) -> None:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if size > memory:
        raise OSError(f"{size} bytes, more than this machine's memory")


def open_stored_zip(data: bytes) -> zipfile.ZipFile:
    """Open a zip whose entries are stored: together they take no more bytes than the file.

    Raises
    ------
    zipfile.BadZipFile
        If an entry is compressed (a small one may inflate to any size), or entries overlap. `zipfile` itself answers damage with
        whatever its parser meets first: struct.error, NotImplementedError, EOFError ...
    """
    archive = zipfile.ZipFile(io.BytesIO(data))
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
        raise zipfile.BadZipFile("its entries are not stored")
    if sum(entry.file_size for entry in archive.infolist()) > len(data):
        raise zipfile.BadZipFile("its entries are larger than the file")
    return archive


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
        raise InputError(
            f"{what} {shown(path)}: expected a writable place; got {error}.",
            hint="check the path, and the right to write there.",
        ) from error


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
    if filesystem.type_name == "local":
        # By a temporary file whose name nobody can foresee: another user's link in its place would be followed.
        _write_local(Path(path), data)
    elif filesystem.type_name in ("s3", "gcs", "abfs"):
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
