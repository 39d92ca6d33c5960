"""Estimates of a job: tasks, batch size, output files, seconds."""
from __future__ import annotations

import math
from dataclasses import dataclass, replace

__all__ = [
    "ARROW_BATCH_BYTES", "FILE_BYTES", "ImageCost", "expected_files", "expected_seconds", "images_an_arrow_batch",
    "planned_tasks", "row_bytes", "scan_settings",
]

_TASK_SECONDS, _SHORTEST_TASK_SECONDS = 40.0, 20.0
"""A task shall compute for 20 to 60 s: long beside the tenths of a second that starting it takes, short if it is repeated."""
_TASKS_PER_SLOT = 2

PARQUET_BATCH_BYTES = 16 * 2**20
_PARQUET_BATCH_ROWS = 4096
ARROW_BATCH_BYTES = 64 * 2**20
_LARGEST_ARROW_BATCH_BYTES = 2**30
"""A batch of the largest images alone: Arrow's binary arrays end at 2 GiB, and Spark sorts files by size, so large ones meet."""
_ARROW_BATCH_ROWS = 10_000
"""Spark's own default of rows a batch."""

FILE_BYTES = 128 * 2**20
"""Size of a Parquet file of an output, where there are that many rows: few large files, each a good read of its own."""
_ROW_BYTES, _RANKED_BYTES, _NUMBER_BYTES = 50, 8, 4
"""A classification's row in Parquet: 48 bytes with a top_k of 5 (ResNet-20 on the 2000 images of cifar10), and 7 to 9 for each
further label (10 and 1000 classes); of an embedding's number, float32 that hardly compresses."""
_RANKED = 5

_FIXED_DECODE_SECONDS, _DECODE_SECONDS_PER_BYTE = 0.0001, 29e-9
"""Decode, resize and crop on one core of an EPYC of the Zen 4 generation: 3.2 ms for JPEGs of 110 kB (photos_jpeg, 224 x 224),
0.12 ms for JPEGs of 0.9 kB (cifar10, 32 x 32)."""
_FIXED_READ_SECONDS, _READ_SECONDS_PER_BYTE = 0.00075, 37e-9
"""CPU time of the JVM that reads a file through ``binaryFile`` and hands it on: 0.75 ms for cifar10, 4.8 ms for photos_jpeg,
on the same machine. Up to Spark 4.1 a task's JVM does not read the next images while its Python worker computes."""
_INFERENCE_SECONDS = 1 / 41
"""Where nothing was measured: ResNet-50 INT8 in engine fbgemm on one core of a Xeon."""

_UNITS_A_TASK = 4


@dataclass(frozen=True)
class ImageCost:
    """The seconds that one image costs a worker, and what they follow from.

    Parameters
    ----------
    inference_seconds : float
        The forward pass.
    mean_bytes : float
        Of the encoded image; decoding and reading are estimated by it.
    jvm_reads : bool
        Whether Spark reads it for the worker, which waits meanwhile.
    """

    inference_seconds: float = _INFERENCE_SECONDS
    mean_bytes: float = 100_000.0
    jvm_reads: bool = False

    @property
    def decode_seconds(self) -> float:
        """Decode, resize and crop."""
        return _FIXED_DECODE_SECONDS + _DECODE_SECONDS_PER_BYTE * self.mean_bytes

    @property
    def seconds(self) -> float:
        """All of it."""
        read = _FIXED_READ_SECONDS + _READ_SECONDS_PER_BYTE * self.mean_bytes if self.jvm_reads else 0.0
        return self.inference_seconds + self.decode_seconds + read

    @property
    def preparing_share(self) -> float:
        """The share of reading and decoding in it, 0 to 1."""
        return 1 - self.inference_seconds / self.seconds

    @property
    def fixed_cost_bytes(self) -> int:
        """The cost that does not depend on the bytes, counted in bytes that take as long to decode."""
        a_byte = _DECODE_SECONDS_PER_BYTE + (_READ_SECONDS_PER_BYTE if self.jvm_reads else 0.0)
        return max(round(replace(self, mean_bytes=0.0).seconds / a_byte), 1)


def planned_tasks(images: int, *, seconds_per_image: float, slots: int) -> int:
    """Compute the number of tasks that a job is cut into.

    Parameters
    ----------
    images : int
        How many there are.
    seconds_per_image : float
        What one costs a worker.
    slots : int
        Tasks that run at once.

    Returns
    -------
    int
        Tasks of 20 to 60 s where there is so much work, at least two a slot, never more than images, at least 1. Where it
        leaves tasks long enough, whole rounds: one task left over would keep a cluster waiting.
    """
    seconds = images * seconds_per_image
    tasks = max(math.ceil(seconds / _TASK_SECONDS), _TASKS_PER_SLOT * slots)
    rounds = math.ceil(tasks / slots) * slots
    if seconds / rounds >= _SHORTEST_TASK_SECONDS:
        tasks = rounds
    return max(min(tasks, images), 1)


def expected_seconds(
    images: int, *, seconds_per_image: float, tasks: int, slots: int, start_seconds: float,
) -> float:
    """Seconds from the first task to the last: the workers' start, then as many rounds of tasks as it takes."""
    return start_seconds + math.ceil(tasks / slots) * (images / tasks) * seconds_per_image


def row_bytes(task: str, output_length: int, *, top_k: int = _RANKED) -> int:
    """About the bytes of a row in Parquet, with `output_length` numbers of an embedding or `top_k` labels of a classification."""
    if task == "embedding":
        return _ROW_BYTES + _NUMBER_BYTES * output_length
    ranked = min(top_k, output_length) if task == "classification" else _RANKED
    return _ROW_BYTES + _RANKED_BYTES * (ranked - _RANKED)


def expected_files(images: int, *, tasks: int, row_bytes: int = _ROW_BYTES) -> int:
    """Parquet files of about 128 MB, or one a task where that is fewer."""
    return max(min(tasks, math.ceil(images * row_bytes / FILE_BYTES)), 1)


def images_an_arrow_batch(*, mean_bytes: float, largest_bytes: float) -> int:
    """Rows a batch: about 64 MiB of them, and at most 1 GiB if all were as large as the largest one."""
    rows = min(ARROW_BATCH_BYTES / max(mean_bytes, 1.0), _LARGEST_ARROW_BATCH_BYTES / max(largest_bytes, 1.0))
    return max(min(int(rows), _ARROW_BATCH_ROWS), 1)


def parquet_settings(*, mean_bytes: float) -> dict[str, str]:
    """Spark settings by which a batch of Parquet's reader holds about 16 MiB of images; Spark's default is 4096 rows of any size.

    The reader's vectors double until they hold a batch, in the heap, beside the row group's stored bytes.
    """
    rows = max(min(int(PARQUET_BATCH_BYTES / max(mean_bytes, 1.0)), _PARQUET_BATCH_ROWS), 1)
    return {"spark.sql.parquet.columnarReaderBatchSize": str(rows)}


def scan_settings(tasks: int, *, file_cost_bytes: int) -> dict[str, str]:
    """Spark settings by which a file scan has at least about `tasks` partitions, all of about the same cost.

    Spark adds files, largest first, to a partition until their bytes and `file_cost_bytes` for each exceed
    ``max(openCostInBytes, total / minPartitionNum)`` (``FilePartition.maxSplitBytes``). Finer than wanted: to join
    neighbours costs nothing, to part them would.
    """
    return {
        "spark.sql.files.minPartitionNum": str(_UNITS_A_TASK * tasks),
        "spark.sql.files.openCostInBytes": str(file_cost_bytes),
        # Out of the way: else it parts what is larger than 128 MB.
        "spark.sql.files.maxPartitionBytes": str(2**62),
    }
