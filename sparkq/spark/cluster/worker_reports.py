"""Reports of Python workers about themselves: how often each loaded a model, and its peak memory.

It comes through an accumulator, which no row is ever counted by: Spark adds a task's update again when the task runs again, or
loses it with the task. Here an update is "at least so much, of this process", and adding is taking the larger, so that
twice is once. What is lost is what a worker did that was killed before one of its tasks had ended.
"""
from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import Any

from pyspark import SparkContext
from pyspark.accumulators import AccumulatorParam

from sparkq.engines.node import peak_memory_bytes
from sparkq.worker.predictor_cache import models_loaded

__all__ = ["WorkerReports", "WorkerSummary"]

# (host, process id) to (models loaded, peak memory in bytes).
_Reports = dict[tuple[str, int], tuple[int, int]]


class _Largest(AccumulatorParam[_Reports]):
    """Reports by process, of each the largest."""

    def zero(self, value: _Reports) -> _Reports:
        return {}

    def addInPlace(self, value1: _Reports, value2: _Reports) -> _Reports:
        for worker, (loads, peak) in value2.items():
            known_loads, known_peak = value1.get(worker, (0, 0))
            value1[worker] = (max(loads, known_loads), max(peak, known_peak))
        return value1


@dataclass(frozen=True)
class WorkerSummary:
    """A summary of the reports of a job's Python workers.

    Parameters
    ----------
    workers : int
        Processes that ended at least one task.
    loads : int
        Models that they loaded, in all; with `workers` equal, none loaded twice.
    peak_memory_bytes : int
        Resident memory of the largest, over its life: a worker may have served other jobs before.
    """

    workers: int
    loads: int
    peak_memory_bytes: int


class WorkerReports:
    """Made on the driver, told on workers at the end of each task, asked on the driver after the job."""

    def __init__(self, context: SparkContext) -> None:
        self._reports: Any = context.accumulator({}, _Largest())

    def tell(self) -> None:
        """Report this process. On a Python worker."""
        self._reports.add({(socket.gethostname(), os.getpid()): (models_loaded(), peak_memory_bytes())})

    def summary(self) -> WorkerSummary:
        """Sum up all reports so far. On the driver."""
        told: _Reports = self._reports.value
        return WorkerSummary(
            len(told), sum(loads for loads, _ in told.values()), max((peak for _, peak in told.values()), default=0),
        )
