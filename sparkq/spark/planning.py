"""How many tasks a job is cut into."""
from __future__ import annotations

import math

from pyspark.sql import DataFrame

__all__ = ["with_planned_partitions"]

_IMAGES_PER_TASK = 512
_TASKS_PER_CORE = 2


def with_planned_partitions(images_df: DataFrame, *, images: int) -> DataFrame:
    """The same rows in fewer, larger tasks where Spark would make many small ones; never a shuffle. On the driver.

    Spark counts 4 MB for opening a file, so it packs 31 images a task, and each task pays tenths of a second before its
    first row (pyspark's worker reads the directory of every zip on its path again).

    Parameters
    ----------
    images_df : DataFrame
        Images of a file source.
    images : int
        How many there are.
    """
    cores = images_df.sparkSession.sparkContext.defaultParallelism
    wanted = max(math.ceil(images / _IMAGES_PER_TASK), _TASKS_PER_CORE * cores)
    return images_df.coalesce(wanted) if wanted < images_df.rdd.getNumPartitions() else images_df
