"""How many images an input has, how many bytes, in how many files: from metadata, no image is opened."""
from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql.types import BinaryType, StructType

from sparkq.errors import InputError
from sparkq.images.listing import Listing
from sparkq.planning.partitions import scan_settings
from sparkq.spark.cluster.executors import task_slots
from sparkq.spark.input.sources import FoundImages
from sparkq.spark.session.actions import run_action
from sparkq.spark.session.settings import session_settings
from sparkq.storage import shown

__all__ = ["Inventory", "RowGroups", "holds_bytes", "row_groups", "take_inventory"]


@dataclass(frozen=True)
class RowGroups:
    """The row groups of a Parquet input, as its footers tell of them; Spark never parts one, and reads it whole into memory.

    Parameters
    ----------
    count : int, optional
        How many there are; None where not all footers were read.
    largest_bytes : int
        Stored bytes of the largest.
    mean_bytes : float
        Bytes of a row, decompressed, in the group whose rows are largest.
    """

    count: int | None
    largest_bytes: int
    mean_bytes: float


@dataclass(frozen=True)
class Inventory:
    """An input, counted.

    Parameters
    ----------
    images : int
        Rows.
    bytes : int, optional
        Of the encoded images; of a table, of its files. None where only uris are known.
    largest_bytes : int, optional
        The largest image, where each image's length is known.
    files : int
        That Spark lists: image files, or those of a table; 0 where there are none.
    are_files : bool
        Whether each image is a file of its own.
    """

    images: int
    bytes: int | None
    largest_bytes: int | None
    files: int
    are_files: bool

    @property
    def mean_bytes(self) -> float | None:
        """The mean length of an image in bytes."""
        return None if self.bytes is None else self.bytes / max(self.images, 1)

    def part(self, images: int) -> Inventory:
        """Estimate the inventory of so many of its images, whichever they are."""
        mean = self.mean_bytes
        return replace(self, images=images, bytes=None if mean is None else round(mean * images))


def take_inventory(found: FoundImages, place: str) -> Inventory:
    """Count an input: files as they were listed, without a request for each; rows of a table. On the driver.

    Parameters
    ----------
    found : FoundImages
        From `sparkq.spark.input.sources.find_images`.
    place : str
        Its path, for the message.

    Raises
    ------
    InputError
        If there is no image.
    """
    inventory = _of_rows(found.df) if found.listing is None else _of_files(found.listing)
    if inventory.images == 0:
        raise InputError(f"input {shown(place)}: expected images; got none.", hint="check the path and the glob.")
    return inventory


def _of_files(listing: Listing) -> Inventory:
    total, largest = pc.sum(listing.lengths).as_py() or 0, pc.max(listing.lengths).as_py() or 0
    return Inventory(listing.images, total, largest, listing.images, are_files=True)


def _of_rows(images_df: DataFrame) -> Inventory:
    relation = _file_relation(images_df)
    # Few tasks: each only counts.
    settings = scan_settings(task_slots(images_df.sparkSession.sparkContext), file_cost_bytes=1)
    with session_settings(images_df.sparkSession, settings):
        images = run_action(images_df.count)
    total = int(relation.location().sizeInBytes()) if relation is not None and holds_bytes(images_df) else None
    files = 0 if relation is None else len(relation.location().inputFiles())
    return Inventory(images, total, None, files, are_files=False)


def holds_bytes(df: DataFrame) -> bool:
    """Whether rows bring image bytes along; if not, workers read the images at their uris."""
    kinds = [field.dataType for field in df.schema.fields]
    return any(isinstance(kind, BinaryType) or (isinstance(kind, StructType) and "data" in kind.names) for kind in kinds)


def row_groups(df: DataFrame, *, at_most_files: int) -> RowGroups | None:
    """Row groups of a Parquet input, by the footers of so many files, evenly spread; None for other inputs."""
    relation = _file_relation(df)
    if relation is None or relation.fileFormat().toString() != "Parquet":
        return None
    paths = list(relation.location().inputFiles())
    some = paths if len(paths) <= at_most_files else paths[::math.ceil(len(paths) / max(at_most_files, 1))]
    groups = [group for path in some for group in _groups_of(df, path)]
    return RowGroups(
        len(groups) if len(some) == len(paths) else None, max((stored for _, stored, _ in groups), default=0),
        max((plain / max(rows, 1) for rows, _, plain in groups), default=0.0),
    )


def _groups_of(df: DataFrame, path: str) -> list[tuple[int, int, int]]:
    """Rows, stored bytes and decompressed bytes of each row group of a file."""
    context = df.sparkSession.sparkContext
    hadoop: Any = context._jvm.org.apache  # type: ignore[union-attr]
    location = hadoop.hadoop.fs.Path(context._jvm.java.net.URI(path))  # type: ignore[union-attr]
    file = hadoop.parquet.hadoop.util.HadoopInputFile.fromPath(location, context._jsc.hadoopConfiguration())
    reader = hadoop.parquet.hadoop.ParquetFileReader.open(file)
    try:
        return [
            (int(group.getRowCount()), int(group.getCompressedSize()), int(group.getTotalByteSize()))
            for group in reader.getRowGroups()
        ]
    finally:
        reader.close()


def _file_relation(df: DataFrame) -> Any:
    """The only ``HadoopFsRelation`` that `df` reads, or None."""
    leaves = df._jdf.queryExecution().analyzed().collectLeaves()
    nodes = [leaves.apply(number) for number in range(leaves.size())]
    found = [node.relation() for node in nodes if node.nodeName() == "LogicalRelation"]
    is_files = [relation for relation in found if relation.getClass().getSimpleName() == "HadoopFsRelation"]
    return is_files[0] if len(is_files) == 1 else None
