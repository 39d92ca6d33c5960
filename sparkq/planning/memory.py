"""The memory of an executor, and the options of spark-submit that follow."""
from __future__ import annotations

import math
from dataclasses import dataclass

from sparkq.planning.instances import Instance
from sparkq.planning.partitions import ARROW_BATCH_BYTES, PARQUET_BATCH_BYTES

__all__ = ["ExecutorShape", "Memory", "WorkerNeeds", "driver_memory_mb", "executor_memory", "shape_on", "submit_options"]

_MB = 2**20
_STEP_MB = 256
_BASE_HEAP_MB = 1024
"""Spark keeps 300 MB for itself and gives tasks 60 % of the rest."""
_BATCHES_IN_HEAP = 3
"""A batch of image bytes is there as rows, as Arrow vectors, and as what is being sent."""
_VECTORS = 3
"""A batch of Parquet's reader, in a vector that doubles while it is filled."""
_LEAST_OVERHEAD_MB, _OVERHEAD_SHARE = 384, 0.1
"""Spark's own addition for the JVM beside its heap; what it sets must hold that and the Python workers."""

_BASE_DRIVER_MB, _DRIVER_KB_PER_FILE = 384, 4
"""A list of 100 000 local files stays in the JVM's heap with 107 MB, 1.1 kB a file, and takes as much again while it is
made; a job on them ran with a heap of 512 MB. Twice that, because paths in object stores are longer."""

_MOST_CORES = 10
"""More cores an executor share one JVM's garbage collector and one daemon that starts the workers."""
_NODE_SHARE, _MOST_NODE_MB = 0.25, 8192
"""Memory that a node keeps for itself. EMR's defaults for YARN leave 12 of 16 GiB, 56 of 64 GiB."""


@dataclass(frozen=True)
class WorkerNeeds:
    """The figures from which the memory of an executor is computed.

    Parameters
    ----------
    resident_bytes : int
        Peak resident memory of one Python worker, measured.
    largest_bytes : int
        Of the largest encoded image.
    jvm_reads : bool
        Whether image bytes pass through the JVM; otherwise the workers read them themselves.
    row_group_bytes : int
        Of the largest row group of a Parquet: each task that runs holds one whole.
    """

    resident_bytes: int
    largest_bytes: int
    jvm_reads: bool
    row_group_bytes: int = 0


@dataclass(frozen=True)
class Memory:
    """Memory of one executor, in MiB.

    Parameters
    ----------
    heap_mb : int
        The JVM's (``spark.executor.memory``).
    overhead_mb : int
        What the container holds beside it, the Python workers above all (``spark.executor.memoryOverhead``).
    workers : int
        Python workers that run at once.
    """

    heap_mb: int
    overhead_mb: int
    workers: int

    @property
    def total_mb(self) -> int:
        """The memory that YARN or Kubernetes must grant, in MiB."""
        return self.heap_mb + self.overhead_mb


@dataclass(frozen=True)
class ExecutorShape:
    """Executors of a cluster.

    Parameters
    ----------
    executors : int
        How many.
    cores : int
        Of each.
    memory_limit_mb : int, optional
        What the node has for one of them, if known.
    """

    executors: int
    cores: int
    memory_limit_mb: int | None = None


def executor_memory(workers: int, needs: WorkerNeeds) -> Memory:
    """Memory of an executor with so many Python workers at once (cores over ``spark.task.cpus``)."""
    batch = (_BATCHES_IN_HEAP * ARROW_BATCH_BYTES + 2 * needs.largest_bytes) if needs.jvm_reads else 0
    if needs.row_group_bytes:
        batch += needs.row_group_bytes + _VECTORS * PARQUET_BATCH_BYTES
    heap_mb = _rounded(_BASE_HEAP_MB + workers * batch / _MB)
    own_mb = max(_LEAST_OVERHEAD_MB, _OVERHEAD_SHARE * heap_mb)
    return Memory(heap_mb, _rounded(own_mb + workers * needs.resident_bytes / _MB), workers)


def driver_memory_mb(files: int, *, local: Memory | None = None) -> int:
    """Heap of the driver: it holds the list of files, and on a local master, as the executor (`local`), images as well."""
    images_mb = 0 if local is None else local.heap_mb - _BASE_HEAP_MB
    return _rounded(_BASE_DRIVER_MB + files * _DRIVER_KB_PER_FILE / 1024 + images_mb)


def shape_on(instance: Instance, nodes: int, needs: WorkerNeeds, *, task_cpus: int) -> ExecutorShape:
    """Executors on nodes of one type: as many cores in use as the memory allows, one vCPU of a node left to its own.

    Of equally good ones the largest executors, with at most 10 cores.
    """
    usable_cores = max(instance.vcpus - 1, 1)
    usable_mb = instance.memory_mb - min(_MOST_NODE_MB, round(_NODE_SHARE * instance.memory_mb))
    best = (0, 0, 0)
    for cores in range(task_cpus, max(min(usable_cores, _MOST_CORES), task_cpus) + 1, task_cpus):
        memory = executor_memory(cores // task_cpus, needs)
        a_node = min(usable_cores // cores, usable_mb // memory.total_mb)
        best = max(best, (a_node * cores, cores, a_node))
    _, cores, a_node = best
    if a_node == 0:
        return ExecutorShape(nodes, task_cpus, usable_mb)
    return ExecutorShape(nodes * a_node, cores, usable_mb // a_node)


def submit_options(shape: ExecutorShape, memory: Memory, *, task_cpus: int, driver_mb: int, tasks: int) -> dict[str, str]:
    """Spark settings for spark-submit (``--conf KEY=VALUE``).

    ``spark.executor.pyspark.memory`` is left out on purpose: it limits each worker's address space, not its memory.
    """
    return {
        "spark.driver.memory": f"{driver_mb}m",
        # One that has no task to run would be paid for all the same.
        "spark.executor.instances": str(max(min(shape.executors, math.ceil(tasks / memory.workers)), 1)),
        "spark.executor.cores": str(shape.cores),
        "spark.executor.memory": f"{memory.heap_mb}m",
        "spark.executor.memoryOverhead": f"{memory.overhead_mb}m",
        "spark.task.cpus": str(task_cpus),
        "spark.python.worker.reuse": "true",
        "spark.speculation": "false",
    }


def _rounded(megabytes: float) -> int:
    return math.ceil(megabytes / _STEP_MB) * _STEP_MB
