"""Hadoop's view of a path: the filesystem that Spark itself reads and writes with."""
from __future__ import annotations

import contextlib
import os
import re
import secrets
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]  # it ships no types
from pyspark.sql import SparkSession

from sparkq.errors import InputError
from sparkq.redaction import carries_credentials, get_logger
from sparkq.spark.session.conditional_create import UNCONDITIONAL, can_create_if_absent, create_if_absent, fill
from sparkq.spark.session.connect import is_connect
from sparkq.spark.session.failures import root_message

__all__ = ["FolderEntry", "HadoopFolder", "hadoop_path"]

_logger = get_logger(__name__)
# Stores on which the rename of a folder is one atomic step that is refused where the target exists. All others are taken
# for object stores, whose rename copies one object after the other.
_ATOMIC_RENAME = ("file", "hdfs", "viewfs", "ofs")
_SETTLE_SECONDS = 2.0
# A bucket, a host or a disk without a path, of which Hadoop makes none: there, the slash stays.
_BARE_ROOT = r"(?:[A-Za-z][A-Za-z0-9+.-]*:(?://[^/]+)?)?"


def hadoop_path(spark: SparkSession, location: str) -> tuple[Any, Any]:
    """(``org.apache.hadoop.fs.Path``, its ``FileSystem``) as Java objects. On the driver, classic sessions only.

    Raises
    ------
    InputError
        If Spark has no such filesystem, for example S3 without ``hadoop-aws``, or the session is one of Spark Connect.
    """
    if is_connect(spark):
        raise InputError(
            f"{location}: expected a classic Spark session, whose JVM lists files and commits runs; got one of Spark Connect.",
            hint="there, spark.read.format('binaryFile') and predictions.write.parquet(...) work.",
        )
    if carries_credentials(location):
        # Hadoop refuses it, too, but Spark would first have it in its logs, plans and pages.
        raise InputError(
            f"{location}: expected a uri without credentials, as Hadoop demands; got one with a key in it.",
            hint="give them as spark.hadoop.fs.s3a.access.key and .secret.key, by the environment, or by the machine's role.",
        )
    context = spark.sparkContext
    path = context._jvm.org.apache.hadoop.fs.Path(location)  # type: ignore[union-attr]
    try:
        return path, path.getFileSystem(context._jsc.hadoopConfiguration())
    except Py4JJavaError as error:
        raise InputError(
            f"{location}: expected a filesystem that Spark can reach; got {error.java_exception.getMessage()}.",
            hint="check the uri; S3 outside EMR needs --packages org.apache.hadoop:hadoop-aws.",
        ) from error


class FolderEntry(NamedTuple):
    """A file or folder: its path relative to the `HadoopFolder`, and its length in bytes."""

    path: str
    bytes: int
    is_folder: bool


class HadoopFolder:
    """A folder on any filesystem of Spark's, and what may be done in it. On the driver.

    All paths are relative to it. Every method raises `InputError`, with what the filesystem said, if it refuses.

    Parameters
    ----------
    spark : SparkSession
        A classic session.
    location : str
        As Spark takes it (`sparkq.spark.input.sources.spark_path`).
    """

    def __init__(self, spark: SparkSession, location: str) -> None:
        self.spark = spark
        bare = location.rstrip("/")
        self.location = f"{bare}/" if re.fullmatch(_BARE_ROOT, bare) else bare
        self._root, self._filesystem = hadoop_path(spark, self.location)

    @property
    def renames_atomically(self) -> bool:
        """Whether `move_folder` is one step that only one of several can take; on object stores it is not."""
        return self._filesystem.getUri().getScheme() in _ATOMIC_RENAME

    def at(self, path: str) -> str:
        """The location of a path in it."""
        return f"{self.location.rstrip('/')}/{path}" if path else self.location

    def _path(self, path: str) -> Any:
        return self._java_path(self.at(path))

    def _java_path(self, location: str) -> Any:
        return self.spark.sparkContext._jvm.org.apache.hadoop.fs.Path(location)  # type: ignore[union-attr]

    @contextlib.contextmanager
    def _told(self, path: str, expected: str) -> Iterator[None]:
        try:
            yield
        except Py4JJavaError as error:
            raise InputError(f"{self.at(path)}: expected {expected}; got {root_message(error)}.") from error

    def exists(self, path: str = "") -> bool:
        """Whether there is a file or folder."""
        with self._told(path, "a place that can be read"):
            return bool(self._filesystem.exists(self._path(path)))

    def entries(self, path: str = "") -> list[FolderEntry]:
        """List the content of a folder; nothing where there is no folder."""
        with self._told(path, "a folder that can be listed"):
            folder = self._path(path)
            return [self._entry(status) for status in self._filesystem.listStatus(folder)] if self.exists(path) else []

    def files(self, path: str) -> list[FolderEntry]:
        """All files under a folder whose names, and those of the folders between, begin with neither ``_`` nor a dot.

        On object stores one request for a thousand files, in however many folders.
        """
        found: list[FolderEntry] = []
        with self._told(path, "a folder that can be listed"):
            statuses = self._filesystem.listFiles(self._path(path), True) if self.exists(path) else None
            while statuses is not None and statuses.hasNext():
                entry = self._entry(statuses.next())
                if not any(name.startswith(("_", ".")) for name in entry.path.removeprefix(f"{path}/").split("/")):
                    found.append(entry)
        return sorted(found)

    def _entry(self, status: Any) -> FolderEntry:
        path, root = (str(java_path.toUri().getPath()) for java_path in (status.getPath(), self._root))
        return FolderEntry(path.removeprefix(root.rstrip("/") + "/"), int(status.getLen()), bool(status.isDirectory()))

    def read(self, path: str) -> bytes | None:
        """A whole file, or None where there is none."""
        with self._told(path, "a file that can be read"):
            try:
                stream = self._filesystem.open(self._path(path))
            except Py4JJavaError as error:
                if "java.io.FileNotFoundException" in str(error.java_exception.getClass()):
                    return None
                raise
            try:
                return bytes(stream.readAllBytes())
            finally:
                stream.close()

    def write(self, path: str, data: bytes) -> None:
        """Write a file that appears whole; where one of this name appears meanwhile, either may stay."""
        with self._told(path, "a writable place"):
            parent, _, name = path.rpartition("/")
            temporary = self._path(f"{parent}/.{name}.{secrets.token_hex(4)}.tmp")
            try:
                fill(self._filesystem.create(temporary, True), data)
                if not self._filesystem.rename(temporary, self._path(path)) and not self.exists(path):
                    raise InputError(f"{self.at(path)}: expected to rename its temporary file; got a refusal.")
            finally:
                self._filesystem.delete(temporary, False)

    @property
    def creates_conditionally(self) -> bool:
        """Whether of two `write_if_absent` at the same moment one is told False. S3A can before Hadoop 3.4, and since 3.4.2."""
        with self._told("", "a filesystem that says what it can"):
            return can_create_if_absent(self._filesystem, self._root)

    def write_if_absent(self, path: str, data: bytes) -> bool:
        """Write a file of an object store where there is none; False where there is one.

        Where the store does not do so in one step (`creates_conditionally`), it is looked for a moment later whether it is still
        this one: two that write within that moment find one and the same. After it, both may be told True.
        """
        try:
            jvm = self.spark.sparkContext._jvm
            created = create_if_absent(jvm, self._filesystem, self._path(path), data)
        except Py4JJavaError as error:
            if self.exists(path):
                return False
            raise InputError(f"{self.at(path)}: expected a writable place; got {root_message(error)}.") from error
        if created is not None:
            return created
        if self.creates_conditionally:
            # Its connector can, and it was not warned of: the store itself refused the condition.
            _logger.warning(UNCONDITIONAL, self.location)
        time.sleep(_SETTLE_SECONDS)
        return self.read(path) == data

    def upload(self, local: str, path: str) -> None:
        """Copy a local file here. The JVM reads it itself: no bytes go through its connection with Python."""
        with self._told(path, "a writable place"):
            self._filesystem.copyFromLocalFile(False, True, self._java_path(f"file://{local}"), self._path(path))

    def download(self, path: str, local: str) -> bool:
        """Copy a file to a local one; False where there is none."""
        if not self.exists(path):
            return False
        with self._told(path, "a file that can be read"):
            # Not through Hadoop's checksummed view of local files, which would put a file of its own beside this one.
            self._filesystem.copyToLocalFile(False, self._path(path), self._java_path(f"file://{local}"), True)
        return True

    def move_folder(self, source: str, target: str) -> bool:
        """Rename a folder in one step; False, and nothing done, where the target exists. Only where `renames_atomically`."""
        if self._filesystem.getUri().getScheme() == "file":
            return _move_local(_local(self.at(source)), _local(self.at(target)))
        context: Any = self.spark.sparkContext
        java = context._jvm.org.apache.hadoop.fs
        # `FileSystem.rename` would move into a target that exists.
        no_options = context._gateway.new_array(getattr(java, "Options$Rename"), 0)
        try:
            files = java.FileContext.getFileContext(self._root.toUri(), context._jsc.hadoopConfiguration())
            files.rename(self._path(source), self._path(target), no_options)
        except Py4JJavaError as error:
            if self.exists(target):
                return False
            raise InputError(f"{self.at(target)}: expected a writable place; got {root_message(error)}.") from error
        return True

    def move_file(self, source: str, target: str) -> None:
        """Rename a file to a name that nobody else uses; on an object store it is copied."""
        with self._told(target, "a writable place"):
            self._filesystem.mkdirs(self._path(target).getParent())
            if not self._filesystem.rename(self._path(source), self._path(target)):
                raise InputError(f"{self.at(target)}: expected to move a file here; got a refusal.")

    def delete(self, path: str) -> None:
        """Delete a file, or a folder with all that is in it; nothing where there is none."""
        with self._told(path, "to delete it"):
            self._filesystem.delete(self._path(path), True)

    def delete_if_empty(self, path: str) -> None:
        """Delete a folder in which there is nothing."""
        # What somebody writes there since it was looked at makes Hadoop refuse, and it shall.
        with contextlib.suppress(Py4JJavaError, InputError):
            if self.exists(path) and not self.entries(path):
                self._filesystem.delete(self._path(path), False)


def _local(location: str) -> str:
    return re.sub(r"^file:/+", "/", location)


def _move_local(source: str, target: str) -> bool:
    # Java's rename, and so Hadoop's, replaces a target in some cases; the system call never replaces a folder with files.
    try:
        os.rename(source, target)
    except OSError as error:
        if os.path.exists(target):
            return False
        raise InputError(f"{target}: expected a writable place; got {error.strerror}.") from error
    return True
