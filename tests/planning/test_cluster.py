"""What a session's settings say of its cluster."""
from __future__ import annotations

import pytest

from sparkq.planning.cluster import asked_executors, attainable_slots, is_dynamic, is_local, max_executors, task_cpus

YARN = {"spark.master": "yarn", "spark.executor.instances": "10", "spark.executor.cores": "8"}
DYNAMIC = {**YARN, "spark.dynamicAllocation.enabled": "true"}


@pytest.mark.parametrize(("conf", "now", "slots"), [
    ({"spark.master": "local[4]", "spark.executor.instances": "10", "spark.executor.cores": "8"}, 4, 4),
    ({"spark.master": "local"}, 0, 1),
    (YARN, 0, 80),
    ({**YARN, "spark.task.cpus": "3"}, 16, 20),
    ({"spark.master": "spark://host:7077"}, 24, 24),
    ({**DYNAMIC, "spark.dynamicAllocation.maxExecutors": "50"}, 16, 400),
    ({**DYNAMIC, "spark.dynamicAllocation.maxExecutors": "2147483647"}, 16, 16),
    (DYNAMIC, 0, 8),
    ({"spark.master": "local-cluster[2,1,1024]"}, 1, 2),
], ids=["local", "local_one", "yarn", "task_cpus", "standalone", "dynamic", "no_limit", "dynamic_at_start", "simulated"])
def test_slots(conf: dict[str, str], now: int, slots: int) -> None:
    """Those that there will be, not those of the first second."""
    assert attainable_slots(conf, now=now) == slots


def test_what_dynamic_allocation_may_add_is_not_there_yet() -> None:
    conf = {**DYNAMIC, "spark.dynamicAllocation.maxExecutors": "50"}
    assert attainable_slots(conf, now=16, growing=False) == 16
    assert (is_dynamic(conf), max_executors(conf), asked_executors(conf), asked_executors(YARN)) == (True, 50, 1, 10)


def test_local_sessions() -> None:
    """A simulated cluster has executors of its own."""
    assert [is_local({"spark.master": master}) for master in ("local", "local[*]", "local-cluster[2,1,1024]", "yarn")] == [
        True, True, False, False,
    ]
    assert task_cpus({}) == 1 and asked_executors({"spark.master": "local[8]", "spark.executor.instances": "5"}) == 1
