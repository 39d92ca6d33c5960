"""The choice of calibration images from a DataFrame: the same ones every time, and of files only these are opened."""
from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from sparkq.quantization.gate import MOST_IMAGES
from sparkq.spark.input.listing import is_listing
from sparkq.spark.input.paths import canonical
from sparkq.spark.session.actions import run_action

__all__ = ["Choice", "choose_images"]

_LEAST_HELD_OUT = 50
_LEAST_SPLIT = 10
_SHARE_HELD_OUT = 5


@dataclass(frozen=True)
class Choice:
    """Images that were chosen.

    Parameters
    ----------
    images_df : DataFrame
        ``content`` and ``held_out`` (boolean): the image as it came, and whether it serves to measure instead of to calibrate.
    found : int, optional
        How many images there are, if that is fewer than were asked for.
    chosen : int, optional
        Rows of `images_df`; None where all were taken and not counted.
    """

    images_df: DataFrame
    found: int | None = None
    chosen: int | None = None


def choose_images(images_df: DataFrame, content_column: str, *, images: int | None, hold_out: bool) -> Choice:
    """The first `images` in the order of a hash of their path (of their content, where there is no path).

    The order does not depend on how Spark lists or splits them, and is like that of no folder. Held out are the next ones, at
    most 500; where fewer than 50 are left, the last fifth of those that were asked for; of fewer than ten none.

    Parameters
    ----------
    images_df : DataFrame
        Any with an image column.
    content_column : str
        The column.
    images : int, optional
        How many to calibrate on; None means all.
    hold_out : bool
        Whether images are held out.
    """
    if images is None and not hold_out:
        return Choice(_content(images_df, content_column, F.lit(False)))
    key = F.xxhash64(canonical(F.col("path")) if "path" in images_df.columns else F.col(content_column))
    if "length" in images_df.columns and is_listing(images_df):
        # A file of zero bytes is no image.
        images_df = images_df.where("length > 0")
    wanted = None if images is None else images + (MOST_IMAGES if hold_out else 0)
    hashes = _hashes(images_df, key, wanted)
    if not hashes:
        return Choice(_content(images_df, content_column, F.lit(False)), 0, 0)
    calibrated, end = _ends(len(hashes), images, hold_out)
    # Of files only the chosen ones are opened: Spark filters by the path before workers read the content.
    chosen = images_df.where(key <= hashes[end - 1])
    found = len(hashes) if images is not None and len(hashes) < images else None
    return Choice(_content(chosen, content_column, key > hashes[calibrated - 1]), found, end)


def _ends(found: int, images: int | None, hold_out: bool) -> tuple[int, int]:
    """(images to calibrate on, these and those held out), of `found` in their order."""
    asked = found if images is None else min(images, found)
    if not hold_out or asked < _LEAST_SPLIT and found < asked + _LEAST_HELD_OUT:
        return asked, asked
    if found >= asked + _LEAST_HELD_OUT:
        return asked, found
    return asked - min(MOST_IMAGES, -(-asked // _SHARE_HELD_OUT)), asked


def _content(images_df: DataFrame, content_column: str, held_out: Column) -> DataFrame:
    return images_df.select(F.col(content_column).alias("content"), held_out.alias("held_out"))


def _hashes(images_df: DataFrame, key: Column, images: int | None) -> list[int]:
    """The smallest ones, in order."""
    ordered = images_df.select(key.alias("hash")).orderBy("hash")
    limited = ordered if images is None else ordered.limit(images)
    found: list[int] = run_action(limited.agg(F.sort_array(F.collect_list("hash"))).collect)[0][0]
    return found
