"""Warn of what would make a job slow, dear or wrong, before it costs anything."""
from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from sparkq.planning.cluster import is_dynamic, is_local, max_executors, task_cpus
from sparkq.planning.memory import Memory
from sparkq.planning.partitions import ImageCost

__all__ = ["JobFacts", "few_row_groups", "job_warnings", "setting_warnings"]

_MB = 2**20
_UNITS = {"": 1 / _MB, "b": 1 / _MB, "k": 1 / 1024, "m": 1, "g": 1024, "t": 2**20}
_HUGE_BYTES = 100 * _MB
_UNREADABLE_BYTES = 2**31 - 1
"""Spark's ``binaryFile`` refuses a longer file, and Arrow's binary arrays hold no more."""
_MUCH_PREPARING = 0.5


@dataclass(frozen=True)
class JobFacts:
    """The figures of a job that are judged.

    Parameters
    ----------
    images, tasks, slots : int
        How many there are, and how many tasks run at once.
    cost : ImageCost
        What an image costs.
    start_seconds : float
        Until a worker has loaded the model.
    largest_bytes : int, optional
        The largest image.
    max_image_bytes : int, optional
        The largest that the job predicts.
    row_groups : int, optional
        Of a Parquet with few files.
    """

    images: int
    tasks: int
    slots: int
    cost: ImageCost
    start_seconds: float
    largest_bytes: int | None = None
    max_image_bytes: int | None = None
    row_groups: int | None = None


def job_warnings(facts: JobFacts) -> list[str]:
    """Warnings that follow from the input and the model."""
    warnings = []
    seconds = facts.images * facts.cost.seconds / facts.slots
    if facts.images < 2 * facts.slots:
        warnings.append(f"too few images: {facts.images} for {facts.slots} cores, some of which will have nothing to do")
    elif seconds < facts.start_seconds:
        warnings.append(
            f"too few images for {facts.slots} cores: each computes for {seconds:.1f} s, and its worker takes "
            f"{facts.start_seconds:.1f} s to start; fewer cores cost less",
        )
    if facts.row_groups is not None and facts.row_groups < facts.tasks:
        warnings.append(few_row_groups(facts.row_groups, facts.tasks))
    if facts.largest_bytes is not None and facts.largest_bytes > _UNREADABLE_BYTES:
        warnings.append(f"the largest image has {facts.largest_bytes / 1e9:.1f} GB: Spark does not read files beyond 2 GiB")
    elif facts.largest_bytes is not None and facts.largest_bytes > (facts.max_image_bytes or facts.largest_bytes):
        warnings.append(
            f"the largest image has {facts.largest_bytes} bytes, more than max_image_bytes ({facts.max_image_bytes}): it will be "
            "an error row",
        )
    elif facts.largest_bytes is not None and facts.largest_bytes > _HUGE_BYTES:
        warnings.append(f"the largest image has {facts.largest_bytes / 1e6:.0f} MB: a worker holds it whole, and its pixels")
    if facts.cost.preparing_share > _MUCH_PREPARING:
        warnings.append(
            f"reading and decoding take about {100 * facts.cost.preparing_share:.0f} % of the time: smaller images would help "
            "more than a faster engine",
        )
    return warnings


def few_row_groups(groups: int, tasks: int) -> str:
    """The warning that a Parquet cannot be cut as planned."""
    return (
        f"the Parquet input has {groups} row groups, which Spark does not part: only {groups} of {tasks} tasks will have images; "
        "write it with smaller row groups (parquet.block.size) or more files"
    )


def setting_warnings(
    conf: Mapping[str, str], *, memory: Memory, cores: int, address_space_bytes: int, start_seconds: float, tasks: int,
    driver_mb: int,
) -> list[str]:
    """Warnings that follow from the settings of a session.

    Parameters
    ----------
    conf : mapping of str to str
        Spark's settings, those that were set.
    memory : Memory
        What an executor needs.
    cores : int
        Of an executor.
    address_space_bytes : int
        Peak of a worker.
    start_seconds : float
        Until a worker has loaded the model.
    tasks : int
        Of the job.
    driver_mb : int
        Heap that the driver needs.
    """
    warnings = []
    if conf.get("spark.speculation") == "true":
        warnings.append(
            "spark.speculation is on: slow tasks are computed twice and paid for twice (no row is doubled); set it to false",
        )
    if is_dynamic(conf) and max_executors(conf) is None:
        warnings.append(
            "spark.dynamicAllocation has no limit: Spark asks for an executor for every few tasks, and tasks are planned for the "
            "executors of now; set spark.dynamicAllocation.maxExecutors",
        )
    if conf.get("spark.python.worker.reuse") == "false":
        warnings.append(
            f"spark.python.worker.reuse is off: each of {tasks} tasks loads the model, {start_seconds:.1f} s every time",
        )
    warnings += _memory_warnings(conf, memory, cores, address_space_bytes, driver_mb)
    threads, cpus = conf.get("spark.executorEnv.OMP_NUM_THREADS"), task_cpus(conf)
    if threads is not None and threads != str(cpus):
        warnings.append(f"spark.executorEnv.OMP_NUM_THREADS is {threads}, spark.task.cpus {cpus}: leave the former out")
    if cpus > 1:
        warnings.append(f"spark.task.cpus is {cpus}: one worker a core, one thread each, runs more images per second")
    return warnings


def _memory_warnings(
    conf: Mapping[str, str], memory: Memory, cores: int, address_space_bytes: int, driver_mb: int,
) -> list[str]:
    warnings = []
    limit = conf.get("spark.executor.pyspark.memory")
    if limit is not None and _megabytes(limit) > 0:
        a_worker = _megabytes(limit) / cores
        verdict = "workers will fail" if a_worker < address_space_bytes / _MB else "leave it out"
        warnings.append(
            f"spark.executor.pyspark.memory {limit} limits each worker's address space to {a_worker:.0f} MB, of which it "
            f"needs {address_space_bytes / _MB:.0f} MB though it uses far less memory: {verdict}; "
            "spark.executor.memoryOverhead is for it",
        )
    driver = _megabytes(conf.get("spark.driver.memory", "1g"))
    if driver < driver_mb:
        warnings.append(f"spark.driver.memory is {driver:.0f} MB, the driver needs {driver_mb} MB")
    if is_local(conf):
        # The driver is the executor, and the workers are limited by nothing but the machine.
        return warnings
    heap = _megabytes(conf.get("spark.executor.memory", "1g"))
    if heap < memory.heap_mb:
        warnings.append(f"spark.executor.memory is {heap:.0f} MB, an executor needs {memory.heap_mb} MB")
    factor = float(conf.get("spark.executor.memoryOverheadFactor", "0.1"))
    given = conf.get("spark.executor.memoryOverhead")
    overhead = max(384.0, factor * heap) if given is None else _megabytes(given, unit="m")
    if overhead < memory.overhead_mb:
        warnings.append(
            f"spark.executor.memoryOverhead is {overhead:.0f} MB, {memory.workers} workers and the JVM need "
            f"{memory.overhead_mb} MB: YARN and Kubernetes kill an executor that takes more",
        )
    return warnings


def _megabytes(text: str, *, unit: str = "b") -> float:
    """MiB of a size as Spark reads it: ``2g``, ``512m``; a bare number counts in `unit`."""
    found = re.fullmatch(r"\s*(\d+)\s*([bkmgt]?)b?\s*", text.lower())
    return int(found.group(1)) * _UNITS[found.group(2) or unit] if found else 0.0
