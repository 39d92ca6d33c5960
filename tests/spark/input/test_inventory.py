"""Counted without opening an image."""
from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from sparkq.errors import InputError
from sparkq.spark.input.inventory import Inventory, RowGroups, holds_bytes, row_groups, take_inventory
from sparkq.spark.input.listing import is_listing
from sparkq.spark.input.sources import FoundImages, find_images, read_images

# Longer than Spark reads: whoever opened one would fail.
UNREADABLE_BYTES = 3 * 2**30


def unreadable_files(folder: Path, count: int) -> Path:
    """Files that take no space, that nobody may read, and that Spark refuses to."""
    folder.mkdir()
    for number in range(count):
        path = folder / f"{number}.jpg"
        path.touch()
        os.truncate(path, UNREADABLE_BYTES + number)
        path.chmod(0)
    return folder


def _parquet(path: Path, files: dict[str, bytes], *, rows: int) -> Path:
    table = pa.table({"path": list(files), "content": list(files.values())})
    pq.write_table(table, path, row_group_size=rows)
    return path


def test_no_file_is_opened(spark: SparkSession, tmp_path: Path) -> None:
    """Sizes come from the listing, of files that nobody could read."""
    folder = unreadable_files(tmp_path / "images", 5)
    found = take_inventory(find_images(spark, str(folder)), "images")
    assert found == Inventory(5, 5 * UNREADABLE_BYTES + 10, UNREADABLE_BYTES + 4, 5, are_files=True)


def test_empty_files_count(spark: SparkSession, folder: Path, tmp_path: Path) -> None:
    """They will be rows, too."""
    (tmp_path / "zero.png").touch()
    (tmp_path / "one.png").write_bytes(b"abc")
    found = take_inventory(find_images(spark, str(tmp_path)), "images")
    assert found == Inventory(2, 3, 3, 2, are_files=True) and found.mean_bytes == 1.5
    (tmp_path / "one.png").unlink()
    assert take_inventory(find_images(spark, str(tmp_path)), "images") == Inventory(1, 0, 0, 1, are_files=True)


def test_files_and_glob(spark: SparkSession, folder: Path, files: dict[str, bytes]) -> None:
    """As many as the glob leaves; what it left out is counted."""
    images = find_images(spark, str(folder), glob="00*.{png,jpg}")
    chosen = [content for name, content in files.items() if name.startswith("00")]
    found = take_inventory(images, "images")
    assert (found.images, found.bytes, found.largest_bytes) == (10, sum(map(len, chosen)), max(map(len, chosen)))
    assert images.left_out == {"glob": 50}
    assert is_listing(images.df) and is_listing(images.df.where("length > 1").limit(3))
    assert not is_listing(images.df.drop("content"))
    assert holds_bytes(images.df) and not holds_bytes(images.df.drop("content"))


def test_a_table_of_bytes(spark: SparkSession, files: dict[str, bytes], tmp_path: Path) -> None:
    path = _parquet(tmp_path / "t.parquet", files, rows=25)
    table = read_images(spark, str(path))
    assert take_inventory(FoundImages(table), "t") == Inventory(60, path.stat().st_size, None, 1, are_files=False)
    footer = pq.ParquetFile(path).metadata
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    found = row_groups(table, at_most_files=1)
    assert found == RowGroups(
        3, max(sum(group.column(each).total_compressed_size for each in range(group.num_columns)) for group in groups),
        max(group.total_byte_size / group.num_rows for group in groups),
    )
    assert not is_listing(table)
    _parquet(path.parent / "u.parquet", files, rows=60)
    both = read_images(spark, str(path.parent))
    some = row_groups(both, at_most_files=1)
    assert some is not None and some.count is None and some.largest_bytes > 0
    whole = row_groups(both, at_most_files=2)
    assert whole is not None and whole.count == 4 and whole.largest_bytes > found.largest_bytes


def test_a_table_of_uris(spark: SparkSession, files: dict[str, bytes], tmp_path: Path) -> None:
    """How large the images are, nobody knows yet."""
    pq.write_table(pa.table({"uri": list(files)}), tmp_path / "uris.parquet")
    table = spark.read.parquet(str(tmp_path / "uris.parquet"))
    found = take_inventory(FoundImages(table), "t")
    assert (found.images, found.bytes, found.mean_bytes) == (60, None, None) and not holds_bytes(table)


def test_rows_of_no_file(spark: SparkSession) -> None:
    assert take_inventory(FoundImages(spark.range(7)), "t") == Inventory(7, None, None, 0, are_files=False)


def test_nothing(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="input here: expected images; got none"):
        take_inventory(find_images(spark, str(tmp_path)), "here")
