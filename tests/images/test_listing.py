"""Every file of a folder is listed once, whatever its name; what is left out is counted."""
from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pyarrow.fs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparkq.images.listing import Listing, list_local, list_store
from sparkq.images.read import read_object
from tests.local_s3 import BUCKET, LocalS3, local_s3

ODD_NAMES = [
    "_DSC0001.JPG", ".hidden.jpg", "_sub/x.png", ".dot/y.png", "x._COPYING_", "a b.png", "a%20b.png", "q?a=b.png", "#+&:=.png",
    "ünï.png", "u\u0308.png", "日本.png", "🙂.png", "new\nline.png", "br{a}[b]*.png", "back\\slash.png", "name", "deep/er/_/x.png",
]


def everything(name: str) -> bool:
    """Every name is asked for."""
    return True


def names(listing: Listing, root: Path) -> list[str]:
    """The paths of a listing, relative to its root."""
    return [path.removeprefix(f"file:{root}/") for path in listing.table.column("path").to_pylist()]


def put(root: Path, name: str | bytes, data: bytes = b"x") -> None:
    """Write a file below `root`."""
    path = os.path.join(os.fsencode(root), os.fsencode(name))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as stream:
        stream.write(data)


def test_every_name_is_listed_and_can_be_read(tmp_path: Path) -> None:
    """Names that Spark's listing hides are files like all others."""
    for number, name in enumerate(ODD_NAMES):
        put(tmp_path, name, b"x" * number)
    listing = list_local(str(tmp_path), everything)
    assert names(listing, tmp_path) == sorted(ODD_NAMES)
    assert listing.left_out == {}
    for path, length in zip(listing.table.column("path").to_pylist(), listing.lengths.to_pylist(), strict=True):
        assert len(read_object(path)) == length


def test_a_name_that_is_not_utf8_is_read_by_its_own_spelling(tmp_path: Path) -> None:
    """It differs from the name of the file that is called like that spelling."""
    put(tmp_path, b"\xff%.png", b"bytes")
    put(tmp_path, b"%FF%25.png", b"text")
    found = list_local(str(tmp_path), everything).table.column("path").to_pylist()
    assert [read_object(path) for path in found] == [b"bytes", b"text"]
    assert found == [f"file+percent:{tmp_path}/%FF%25.png", f"file:{tmp_path}/%FF%25.png"]


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    """A link to a folder above lists nothing again, and a link to a folder elsewhere is followed, once."""
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    put(root, "a.png")
    put(root, "sub/b.png")
    put(elsewhere, "c.png")
    (root / "loop").symlink_to(".")
    (root / "sub" / "up").symlink_to("..")
    (root / "one").symlink_to(elsewhere)
    (root / "two").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(root)
    (root / "link.png").symlink_to("a.png")
    listing = list_local(str(root), everything)
    assert names(listing, root) == ["a.png", "link.png", "one/c.png", "sub/b.png"]
    assert listing.left_out == {"listed_before": 4}


def test_a_dangling_link_is_a_row(tmp_path: Path) -> None:
    """Whoever made it meant an image."""
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    listing = list_local(str(tmp_path), everything)
    assert names(listing, tmp_path) == ["gone.png"] and listing.lengths.to_pylist() == [0]


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    """By reason; a pipe is no file, and a folder of a table format counts once."""
    for name in ("a.png", "b.txt", "_SUCCESS", ".a.png.crc", "_temporary/0/part", "_delta_log/0.json", "sub/_sparkq/r.json"):
        put(tmp_path, name)
    put(tmp_path, "x_$folder$", b"")
    os.mkfifo(tmp_path / "pipe.png")
    listing = list_local(str(tmp_path), lambda name: name.endswith(".png"))
    assert names(listing, tmp_path) == ["a.png"]
    assert listing.left_out == {"folder_marker": 1, "glob": 1, "metadata": 5, "not_a_file": 1}


def test_one_file_is_a_listing_of_one(tmp_path: Path) -> None:
    """Also a file whose name would be left out in a folder: it was asked for."""
    put(tmp_path, "_SUCCESS", b"xy")
    assert list_local(str(tmp_path / "_SUCCESS"), everything).lengths.to_pylist() == [2]


# The server of these tests takes no line feeds in keys.
ODD_KEYS = [name for name in ODD_NAMES if "\n" not in name]
NAMES = st.text(st.characters(blacklist_characters="/\0", blacklist_categories=("Cs",)), min_size=1, max_size=8).filter(
    lambda name: name not in (".", "..") and len(name.encode()) < 200,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(NAMES, st.lists(NAMES, max_size=4), max_size=5))
def test_rows_are_files(tree: dict[str, list[str]]) -> None:
    """Over random trees of odd names: each file is listed once or counted as left out, none twice."""
    with tempfile.TemporaryDirectory() as folder:
        for directory, files in tree.items():
            for name in files:
                put(Path(folder), f"{directory}/{name}")
        expected = sum(len(files) for _, _, files in os.walk(os.fsencode(folder)))
        listing = list_local(folder, everything)
        paths = listing.table.column("path").to_pylist()
        assert len(set(paths)) == len(paths)
        kept_out = listing.left_out.get("metadata", 0)
        assert len(paths) == expected if not kept_out else len(paths) < expected + kept_out


@pytest.fixture(scope="module")
def store() -> LocalS3:
    """A bucket with odd keys."""
    with local_s3() as running:
        for name in [*ODD_KEYS, "odd//x.png", "_SUCCESS", "_temporary/0/part", "marker/", "old_$folder$"]:
            running.client.put_object(
                Bucket=BUCKET, Key=f"in/{name}", Body=b"" if name.endswith(("/", "$folder$")) else name.encode(),
            )
        running.client.put_object(Bucket=BUCKET, Key="beside/z.png", Body=b"z")
        yield running


def filesystem(store: LocalS3) -> pyarrow.fs.FileSystem:
    """Arrow's view of the store."""
    return pyarrow.fs.FileSystem.from_uri(store.uri(""))[0]


def test_every_key_is_listed(store: LocalS3) -> None:
    """Of a folder, and of the bucket's root."""
    listing = list_store(filesystem(store), f"{BUCKET}/in", "s3a://", everything)
    assert listing is not None
    expected = sorted(f"s3a://{BUCKET}/in/{name}" for name in [*ODD_KEYS, "odd//x.png"])
    assert listing.table.column("path").to_pylist() == expected
    assert listing.left_out == {"folder_marker": 1, "metadata": 2}
    whole = list_store(filesystem(store), f"{BUCKET}/", "s3a://", everything)
    assert whole is not None and whole.images == listing.images + 1


def test_one_object_and_none(store: LocalS3) -> None:
    """An object is a listing of one; what is not there is told from an empty folder."""
    one = list_store(filesystem(store), f"{BUCKET}/in/q?a=b.png", "s3://", everything)
    assert one is not None and one.table.column("path").to_pylist() == [f"s3://{BUCKET}/in/q?a=b.png"]
    assert list_store(filesystem(store), f"{BUCKET}/nothing", "s3://", everything) is None
