"""Whole files by local path and by uri: they appear whole or not at all."""
from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sparkq.errors import InputError
from sparkq.storage import is_uri, read_file, shown, write_file
from tests import HANG_SECONDS
from tests.local_s3 import BUCKET, LocalS3, local_s3


@pytest.fixture(scope="module")
def s3() -> Iterator[LocalS3]:
    """An S3 server with one bucket."""
    with local_s3() as server:
        yield server


@pytest.mark.parametrize(("path", "expected"), [
    ("s3://bucket/model.sparkq", True), ("s3a://bucket/x", True), ("hdfs://name:8020/x", True), ("file:///x", True),
    ("file:/x", True), ("gs://bucket/x", True), ("model.sparkq", False), ("/data/model.sparkq", False),
    ("./a:b/model.sparkq", False), ("model:v2/x", False), ("C:/x", False), ("://x", False), ("", False),
])
def test_what_is_a_uri(path: str, expected: bool) -> None:
    """A name of two letters or more, a colon and a slash."""
    assert is_uri(path) is expected


@pytest.mark.parametrize("data", [b"", b"x", os.urandom(3_000_000)], ids=["empty", "one byte", "3 MB"])
@pytest.mark.parametrize("name", ["model.sparkq", "new/folders/model.sparkq", "with space & ünï.sparkq"])
@pytest.mark.parametrize("kind", ["path", "file uri"])
def test_what_is_written_locally_is_read(tmp_path: Path, kind: str, name: str, data: bytes) -> None:
    """By path and by uri alike, folders made, nothing left beside it."""
    target = tmp_path / name
    path = str(target) if kind == "path" else target.as_uri()
    write_file(path, data, what="artifact")
    assert read_file(path, what="artifact") == data == target.read_bytes()
    assert os.listdir(target.parent) == [target.name]


def test_hadoops_spelling_of_a_file_uri(tmp_path: Path) -> None:
    """Hadoop prints file:///x as file:/x."""
    write_file(f"file:{tmp_path}/x.bin", b"abc", what="artifact")
    assert (tmp_path / "x.bin").read_bytes() == b"abc"


@pytest.mark.parametrize("kind", ["path", "file uri"])
def test_others_may_read_what_was_written(tmp_path: Path, kind: str) -> None:
    """The mode follows the umask, as for any file, though it is made as a private temporary one."""
    target = tmp_path / "model.sparkq"
    before = os.umask(0o027)
    try:
        write_file(str(target) if kind == "path" else target.as_uri(), b"x", what="artifact")
    finally:
        os.umask(before)
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


@pytest.mark.parametrize("uri", [False, True], ids=["path", "file uri"])
def test_a_missing_file_is_one_sentence(tmp_path: Path, uri: bool) -> None:
    """With the path and a hint."""
    path = (tmp_path / "none.sparkq").as_uri() if uri else str(tmp_path / "none.sparkq")
    with pytest.raises(InputError) as caught:
        read_file(path, what="artifact")
    assert str(caught.value) == f"artifact {path}: expected a file; got nothing there. Hint: check the path."


@pytest.mark.parametrize("uri", [False, True], ids=["path", "file uri"])
def test_a_folder_is_not_a_file(tmp_path: Path, uri: bool) -> None:
    """Neither to read nor to write."""
    path = tmp_path.as_uri() if uri else str(tmp_path)
    with pytest.raises(InputError, match="expected a readable file"):
        read_file(path, what="artifact")
    with pytest.raises(InputError, match="expected a writable place"):
        write_file(path, b"x", what="artifact")
    assert list(tmp_path.iterdir()) == []
    assert list(tmp_path.parent.glob(f".{tmp_path.name}.*")) == []


@pytest.mark.parametrize("uri", [False, True], ids=["path", "file uri"])
def test_a_file_in_the_place_of_a_folder(tmp_path: Path, uri: bool) -> None:
    """Nothing can be written below a file, and the file stays as it was."""
    (tmp_path / "file").write_bytes(b"mine")
    target = tmp_path / "file" / "model.sparkq"
    with pytest.raises(InputError, match="expected a writable place"):
        write_file(target.as_uri() if uri else str(target), b"x", what="artifact")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"mine")]


@pytest.mark.parametrize("uri", ["warp://host/x", "s3://", "file://host:bad:port/x"])
def test_a_uri_that_nobody_understands_is_one_sentence(uri: str) -> None:
    """Read and written alike."""
    for act in (lambda: read_file(uri, what="artifact"), lambda: write_file(uri, b"x", what="artifact")):
        with pytest.raises(InputError) as caught:
            act()
        assert uri in str(caught.value) and "\n" not in str(caught.value)


WRITE_WITH_LITTLE_SPACE = """
import resource, sys
from sparkq.errors import InputError
from sparkq.storage import write_file
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_file(sys.argv[1], b"n" * 1_000_000, what="artifact")
except InputError as error:
    print(error)
"""


@pytest.mark.parametrize("before", [None, b"the old one"], ids=["new", "over an old one"])
@pytest.mark.parametrize("uri", [False, True], ids=["path", "file uri"])
def test_a_write_that_fails_midway_leaves_nothing(tmp_path: Path, uri: bool, before: bytes | None) -> None:
    """The system refuses to let the file grow, as a full disk would: no half file, no temporary one, the old one intact."""
    target = tmp_path / "model.sparkq"
    if before is not None:
        target.write_bytes(before)
    path = target.as_uri() if uri else str(target)
    command = [sys.executable, "-c", WRITE_WITH_LITTLE_SPACE, path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG_SECONDS)
    assert done.stdout.startswith(f"artifact {path}: expected a writable place; got "), done.stderr
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == ({} if before is None else {"model.sparkq": before})


@pytest.mark.parametrize("uri", [False, True], ids=["path", "file uri"])
@pytest.mark.parametrize("kind", ["pipe", "device", "directory"])
def test_what_is_no_ordinary_file_is_refused_at_once(tmp_path: Path, kind: str, uri: bool) -> None:
    """Opening a pipe waits for a writer, and reading a device never ends."""
    path = tmp_path / "model.sparkq"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    with pytest.raises(InputError, match="^artifact .*model.sparkq: expected a readable file; got ") as caught:
        read_file(path.as_uri() if uri else str(path), what="artifact")
    assert "\n" not in str(caught.value)


def test_a_file_larger_than_memory(tmp_path: Path) -> None:
    """Refused before a byte is read."""
    path = tmp_path / "model.sparkq"
    with path.open("wb") as stream:
        stream.truncate(2**43)
    with pytest.raises(InputError, match=f"got {2**43} bytes, more than this machine's memory"):
        read_file(str(path), what="artifact")


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    """While a file is overwritten again and again, every read gives one of the versions, whole."""
    path = str(tmp_path / "model.sparkq")
    versions = [bytes([number]) * 2_000_000 for number in (1, 2)]
    write_file(path, versions[0], what="artifact")

    def overwrite() -> None:
        for number in range(30):
            write_file(path, versions[number % 2], what="artifact")

    writer = threading.Thread(target=overwrite)
    writer.start()
    reads = 0
    while writer.is_alive():
        assert read_file(path, what="artifact") in versions
        reads += 1
    writer.join()
    assert reads > 0


def test_s3_with_everything_in_the_uri(s3: LocalS3) -> None:
    """Key, secret and endpoint in the uri; exactly one object appears."""
    data = os.urandom(1_000_000)
    write_file(s3.uri("folder/with/model.sparkq"), data, what="artifact")
    assert read_file(s3.uri("folder/with/model.sparkq"), what="artifact") == data
    assert s3.objects()["folder/with/model.sparkq"] == data
    assert [key for key in s3.objects() if key.startswith("folder/")] == ["folder/with/model.sparkq"]


@pytest.mark.parametrize("scheme", ["s3", "s3a", "s3n"])
def test_s3_with_the_environments_credentials(s3: LocalS3, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on EMR: a bare uri, also in Hadoop's spellings."""
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    uri = f"{scheme}://{BUCKET}/by-environment/{scheme}.bin"
    write_file(uri, scheme.encode(), what="artifact")
    assert read_file(uri, what="artifact") == scheme.encode() == s3.objects()[f"by-environment/{scheme}.bin"]


def test_s3_without_the_object_or_the_bucket(s3: LocalS3) -> None:
    """One sentence each."""
    with pytest.raises(InputError, match="expected a file; got nothing there"):
        read_file(s3.uri("none.sparkq"), what="artifact")
    with pytest.raises(InputError, match="expected a writable place; got .*NO_SUCH_BUCKET"):
        write_file(s3.uri("x").replace(BUCKET, "no-such-bucket"), b"x", what="artifact")


def test_credentials_of_a_uri_are_not_printed() -> None:
    """A uri may carry a key and its secret; messages end up in logs."""
    assert shown("s3://AKIA:secret@bucket/x?scheme=http") == "s3://***@bucket/x?scheme=http"
    assert shown("s3://bucket/a@b/x") == "s3://bucket/a@b/x"
