"""The files of a folder, each of them once, whatever its name: listed in Python, without Spark. On the driver.

Spark's own listing leaves out names that begin with ``_`` or a dot, and those that the JVM's encoding cannot spell, without a
word. Here every file is listed, but for those that no writer of images makes, and these are counted by reason:

``glob``           the name does not match the pattern that was asked for
``metadata``       a file or folder that a table format, a writer or a desktop keeps for itself (`METADATA_FOLDERS`,
                   ``_SUCCESS``, checksums)
``folder_marker``  an empty object by which a connector marks a folder
``not_a_file``     a pipe, socket or device
``listed_before``  a symbolic link to a folder that is listed under another path, such as one of the folders above it
"""
from __future__ import annotations

import os
import re
import stat
import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

import pyarrow as pa
import pyarrow.fs

from sparkq.errors import InputError
from sparkq.storage import resolve_place, split_uri

__all__ = ["ListedFile", "Listing", "list_local", "list_store", "list_uri", "listing_of"]

METADATA_FOLDERS = frozenset({
    "_temporary", "_sparkq", "_delta_log", "_spark_metadata", "_symlink_format_manifest", ".git", ".ipynb_checkpoints",
})
_METADATA_FILE = re.compile(r"_SUCCESS|_(common_)?metadata|_(committed|started)_\d+|\..*\.crc|\.DS_Store", re.DOTALL)
_FOLDER_MARKER = "_$folder$"
# The driver waits for a network filesystem far longer than it computes.
_FOLDERS_AT_ONCE = 16
_SCHEMA = pa.schema([("path", pa.string()), ("length", pa.int64()), ("modified_microseconds", pa.int64())])


class ListedFile(NamedTuple):
    """A file: its path as rows have it, its length in bytes, and when it was changed, in milliseconds since 1970 (UTC)."""

    path: str
    length: int
    modified_milliseconds: int


@dataclass(frozen=True)
class Listing:
    """The files of an input.

    Parameters
    ----------
    table : pyarrow.Table
        ``path`` (string), ``length`` (int64, bytes), ``modified_microseconds`` (int64, since 1970 UTC), in the order of `path`.
    left_out : dict of str to int
        How many files and folders were left out on purpose, by reason.
    """

    table: pa.Table
    left_out: dict[str, int] = field(default_factory=dict)

    @property
    def images(self) -> int:
        """The number of files."""
        return int(self.table.num_rows)

    @property
    def lengths(self) -> pa.ChunkedArray:
        """The length of each file, in bytes."""
        return self.table.column("length")


def listing_of(files: Iterable[ListedFile], left_out: Counter[str]) -> Listing:
    """Make a `Listing` of files in any order."""
    ordered = sorted(files)
    columns = [
        pa.array([file.path for file in ordered], pa.string()), pa.array([file.length for file in ordered], pa.int64()),
        pa.array([1000 * file.modified_milliseconds for file in ordered], pa.int64()),
    ]
    return Listing(pa.Table.from_arrays(columns, schema=_SCHEMA), dict(sorted(left_out.items())))


def reason_to_leave_out(folders: Iterable[str], name: str, length: int, matches: Callable[[str], bool]) -> str | None:
    """Why a file is not listed, or None: by its name, its length, and the names of the folders below the root that it is in."""
    if any(folder in METADATA_FOLDERS for folder in folders) or _METADATA_FILE.fullmatch(name):
        return "metadata"
    if length == 0 and name.endswith(_FOLDER_MARKER):
        return "folder_marker"
    return None if matches(name) else "glob"


def list_local(root: str, matches: Callable[[str], bool]) -> Listing:
    """List a local folder recursively, or one file.

    Links to files are files of their own, also where they lead nowhere: such a row then says ``not_found``. A link to a folder
    is followed unless that folder is listed under another path, so that links in a circle end.

    Parameters
    ----------
    root : str
        An absolute path of something that is there.
    matches : callable
        Whether a file of this name is asked for.

    Raises
    ------
    InputError
        If a folder cannot be listed.
    """
    left_out: Counter[str] = Counter()
    # Bytes: a name need not be valid in any encoding.
    start = os.fsencode(root)
    status = os.stat(start)
    if not stat.S_ISDIR(status.st_mode):
        return listing_of([_listed(start, status)], left_out)
    walk = _Walk(matches, left_out)
    return listing_of(walk.files(start, status), left_out)


class _Walk:
    """Folders level by level, several at once; links to folders when all others are listed, so that real paths come first."""

    def __init__(self, matches: Callable[[str], bool], left_out: Counter[str]) -> None:
        self._matches = matches
        self._left_out = left_out
        self._seen: set[tuple[int, int]] = set()
        self._links: list[bytes] = []

    def files(self, root: bytes, status: os.stat_result) -> Iterator[ListedFile]:
        """All files below `root`."""
        self._seen.add((status.st_dev, status.st_ino))
        level = [root]
        with ThreadPoolExecutor(_FOLDERS_AT_ONCE, thread_name_prefix="sparkq-list") as pool:
            while level:
                below: list[tuple[bytes, os.stat_result]] = []
                for entries in pool.map(_entries, level):
                    for path, entry_status, is_link in entries:
                        if not stat.S_ISDIR(entry_status.st_mode):
                            yield from self._file(path, entry_status)
                        elif os.path.basename(path).decode("utf-8", "replace") in METADATA_FOLDERS:
                            self._left_out["metadata"] += 1
                        elif is_link:
                            self._links.append(path)
                        else:
                            below.append((path, entry_status))
                level = self._not_seen(below) or self._linked()

    def _file(self, path: bytes, status: os.stat_result) -> Iterator[ListedFile]:
        name = os.path.basename(path).decode("utf-8", "replace")
        reason = reason_to_leave_out((), name, status.st_size, self._matches)
        if reason is None and not (stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)):
            reason = "not_a_file"
        if reason is None:
            yield _listed(path, status)
        else:
            self._left_out[reason] += 1

    def _not_seen(self, folders: Iterable[tuple[bytes, os.stat_result]]) -> list[bytes]:
        new = []
        for path, status in sorted(folders, key=lambda folder: folder[0]):
            key = (status.st_dev, status.st_ino)
            if key in self._seen:
                self._left_out["listed_before"] += 1
            else:
                self._seen.add(key)
                new.append(path)
        return new

    def _linked(self) -> list[bytes]:
        links, self._links = self._links, []
        return self._not_seen((path, os.stat(path)) for path in links)


def _entries(folder: bytes) -> list[tuple[bytes, os.stat_result, bool]]:
    """(path, status behind links, whether it is a link) of what is in a folder; a dangling link has its own status."""
    try:
        with os.scandir(folder) as found:
            return [entry for entry in map(_entry, found) if entry is not None]
    except OSError as error:
        raise InputError(
            f"input {_spelled(folder)}: expected a folder that can be listed; got {error.strerror}.",
            hint="give the job the right to read it, or move it out of the input.",
        ) from error


def _entry(entry: os.DirEntry[bytes]) -> tuple[bytes, os.stat_result, bool] | None:
    try:
        return entry.path, entry.stat(), entry.is_symlink()
    except OSError:
        try:
            return entry.path, entry.stat(follow_symlinks=False), True
        except FileNotFoundError:
            # Deleted since the folder was opened: there is no such file.
            return None


def _listed(path: bytes, status: os.stat_result) -> ListedFile:
    length = 0 if stat.S_ISLNK(status.st_mode) else status.st_size
    return ListedFile(_spelled(path), length, status.st_mtime_ns // 10**6)


def _spelled(path: bytes) -> str:
    """A local path as rows have it: as Spark spells it, or percent-encoded, and saying so, where it is not UTF-8."""
    try:
        return f"file:{path.decode('utf-8')}"
    except UnicodeDecodeError:
        return f"file+percent:{urllib.parse.quote_from_bytes(path)}"


def list_uri(uri: str, matches: Callable[[str], bool]) -> Listing | None:
    """List what a uri of an object store names, through ``pyarrow.fs``, as `list_store`.

    Raises
    ------
    InputError
        If ``pyarrow.fs`` does not know such a store.
    OSError
        If the store refuses.
    """
    place, key, options = split_uri(uri)
    filesystem, root = resolve_place(f"{place}/{options}", named=uri)
    return list_store(filesystem, f"{root.rstrip('/')}{key}", f"{uri.partition('://')[0]}://", matches)


def list_store(
    filesystem: pyarrow.fs.FileSystem, root: str, prefix: str, matches: Callable[[str], bool],
) -> Listing | None:
    """List a folder of an object store recursively, a request a thousand objects, or one object; None where nothing is there.

    Parameters
    ----------
    filesystem : pyarrow.fs.FileSystem
        Of the store.
    root : str
        The folder's or object's path in it, ``bucket/key``.
    prefix : str
        What stands before such a path in a row, ``s3a://``.
    matches : callable
        As for `list_local`.

    Raises
    ------
    OSError
        If the store refuses.
    """
    root = root.strip("/")
    (about,) = filesystem.get_file_info([root])
    if about.type == pyarrow.fs.FileType.NotFound:
        return None
    left_out: Counter[str] = Counter()
    if about.type == pyarrow.fs.FileType.File:
        return listing_of([_object(about, prefix)], left_out)
    files = []
    for info in filesystem.get_file_info(pyarrow.fs.FileSelector(root, recursive=True)):
        if info.type != pyarrow.fs.FileType.File:
            continue
        *folders, name = info.path.removeprefix(f"{root}/").split("/")
        reason = reason_to_leave_out(folders, name, info.size, matches)
        if reason is None:
            files.append(_object(info, prefix))
        else:
            left_out[reason] += 1
    return listing_of(files, left_out)


def _object(info: pyarrow.fs.FileInfo, prefix: str) -> ListedFile:
    return ListedFile(f"{prefix}{info.path}", int(info.size), int(info.mtime_ns or 0) // 10**6)
