"""Facts about a cluster, read from a session's settings."""
from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["asked_executors", "attainable_slots", "is_dynamic", "is_local", "max_executors", "task_cpus"]

Conf = Mapping[str, str]
"""Spark's settings, those that were set, ``spark.master`` among them."""


def task_cpus(conf: Conf) -> int:
    """Cores that a task is given."""
    return int(conf.get("spark.task.cpus") or 1)


def is_local(conf: Conf) -> bool:
    """Whether the driver is the only executor."""
    return re.match(r"local(\[|$)", conf.get("spark.master", "")) is not None


def is_dynamic(conf: Conf) -> bool:
    """Whether Spark adds and removes executors."""
    return conf.get("spark.dynamicAllocation.enabled", "false") == "true"


def max_executors(conf: Conf) -> int | None:
    """The limit of dynamic allocation; None where there is none (Spark's default is ``Int.MaxValue``)."""
    limit = conf.get("spark.dynamicAllocation.maxExecutors", "")
    return int(limit) if limit.isdigit() and int(limit) < 2**31 - 1 else None


def asked_executors(conf: Conf) -> int:
    """Executors that Spark was asked to start; 1 where nobody said how many, and with dynamic allocation."""
    simulated = re.match(r"local-cluster\[\s*(\d+)", conf.get("spark.master", ""))
    if simulated:
        return int(simulated.group(1))
    return 1 if is_dynamic(conf) or is_local(conf) else int(conf.get("spark.executor.instances") or 1)


def attainable_slots(conf: Conf, *, now: int, growing: bool = True) -> int:
    """Tasks that a cluster will run at once.

    Parameters
    ----------
    conf : mapping of str to str
        Its settings.
    now : int
        Tasks that it runs at once now.
    growing : bool
        Whether the executors count, too, that dynamic allocation may add.
    """
    if is_local(conf):
        return max(now, 1)
    executors = (max_executors(conf) if growing else None) if is_dynamic(conf) else asked_executors(conf)
    return max(now, (executors or 1) * (int(conf.get("spark.executor.cores") or 1) // task_cpus(conf)), 1)
