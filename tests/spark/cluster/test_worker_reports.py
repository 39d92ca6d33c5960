"""What workers report of themselves is the same however often, and in whatever order, Spark adds it up."""
from __future__ import annotations

import os
from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from sparkq.spark.cluster.worker_reports import WorkerReports, _Largest

WORKERS = st.tuples(st.sampled_from("ab"), st.integers(1, 3))
UPDATES = st.lists(st.dictionaries(WORKERS, st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=3), max_size=6)


@settings(deadline=None)
@given(UPDATES, st.randoms(use_true_random=False))
def test_an_update_counts_once(updates: list[dict[tuple[str, int], tuple[int, int]]], random: object) -> None:
    """A task that runs again, an update that comes late or never adds nothing of its own."""
    def merged(told: list[dict[tuple[str, int], tuple[int, int]]]) -> dict[tuple[str, int], tuple[int, int]]:
        largest = _Largest()
        total = largest.zero({})
        for update in told:
            total = largest.addInPlace(total, dict(update))
        return total

    shuffled = updates * 2
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert merged(shuffled) == merged(updates)


def test_told_on_workers_read_on_the_driver(spark: SparkSession) -> None:
    """Each process once, however many tasks it ran."""
    reports = WorkerReports(spark.sparkContext)

    def tell(rows: Iterator[int]) -> Iterator[int]:
        reports.tell()
        yield os.getpid()

    processes = spark.sparkContext.parallelize(range(8), 8).mapPartitions(tell).collect()
    summary = reports.summary()
    # Mostly two; on a busy machine a task may start before the process of the one before is free again.
    assert len(processes) == 8 and summary.workers == len(set(processes)) and summary.peak_memory_bytes > 10e6
