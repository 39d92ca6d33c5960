"""What is warned of, and what is not."""
from __future__ import annotations

from dataclasses import replace

import pytest

from sparkq.planning.memory import Memory
from sparkq.planning.partitions import ImageCost
from sparkq.planning.warnings import JobFacts, job_warnings, setting_warnings

GOOD = JobFacts(100_000, 200, 100, ImageCost(0.02, 100_000), 2.0, 5_000_000)
CONF = {
    "spark.master": "yarn", "spark.executor.memory": "2g", "spark.executor.memoryOverhead": "4096", "spark.driver.memory": "2g",
}


def _settings(**conf: str) -> list[str]:
    given = {**CONF, **{f"spark.{key}": value for key, value in conf.items()}}
    return setting_warnings(
        given, memory=Memory(2048, 4096, 4), cores=4, address_space_bytes=2000 * 2**20, start_seconds=2.0, tasks=200,
        driver_mb=1024,
    )


def test_a_good_job_has_no_warnings() -> None:
    assert job_warnings(GOOD) == [] and _settings() == []
    assert job_warnings(replace(GOOD, max_image_bytes=GOOD.largest_bytes)) == []


@pytest.mark.parametrize(("values", "words"), [
    ({"images": 150, "tasks": 150}, ["too few images", "150", "100 cores"]),
    ({"images": 5000}, ["too few images", "fewer cores"]),
    ({"row_groups": 7}, ["7 row groups", "7 of 200 tasks"]),
    ({"largest_bytes": 300_000_000}, ["300 MB"]),
    ({"largest_bytes": 3_000_000_000}, ["3.0 GB", "2 GiB"]),
    ({"largest_bytes": 70_000_000, "max_image_bytes": 2**26}, ["70000000 bytes", "max_image_bytes (67108864)", "error row"]),
    ({"cost": ImageCost(0.001, 100_000)}, ["decoding", "75 %"]),
], ids=["idle_cores", "short_job", "row_groups", "huge", "unreadable", "refused", "decoding"])
def test_jobs(values: dict[str, object], words: list[str]) -> None:
    [warning] = job_warnings(replace(GOOD, **values))  # type: ignore[arg-type]
    for word in words:
        assert word in warning


@pytest.mark.parametrize(("conf", "words"), [
    ({"speculation": "true"}, ["spark.speculation"]),
    ({"dynamicAllocation.enabled": "true"}, ["no limit", "maxExecutors"]),
    ({"dynamicAllocation.enabled": "true", "dynamicAllocation.maxExecutors": "2147483647"}, ["no limit"]),
    ({"python.worker.reuse": "false"}, ["200 tasks", "2.0 s"]),
    ({"executor.pyspark.memory": "4g"}, ["1024 MB", "2000 MB", "workers will fail"]),
    ({"executor.pyspark.memory": "16g"}, ["4096 MB", "leave it out"]),
    ({"executor.memory": "1g"}, ["spark.executor.memory is 1024 MB", "2048 MB"]),
    ({"executor.memoryOverhead": "1g"}, ["memoryOverhead is 1024 MB", "4096 MB"]),
    ({"driver.memory": "512m"}, ["spark.driver.memory is 512 MB", "1024 MB"]),
    ({"executorEnv.OMP_NUM_THREADS": "8"}, ["OMP_NUM_THREADS is 8"]),
    ({"task.cpus": "2"}, ["spark.task.cpus is 2"]),
], ids=lambda value: " ".join(value) if isinstance(value, dict) else "")
def test_settings(conf: dict[str, str], words: list[str]) -> None:
    """One warning each."""
    [warning] = _settings(**conf)
    for word in words:
        assert word in warning


def test_limited_allocation_is_fine() -> None:
    assert _settings(**{"dynamicAllocation.enabled": "true", "dynamicAllocation.maxExecutors": "20"}) == []


def test_what_spark_adds_by_itself_is_counted() -> None:
    """A tenth of the heap, at least 384 MB, or another factor."""
    conf = {"spark.master": "yarn", "spark.executor.memory": "20g", "spark.driver.memory": "2g"}
    for factor, fits in (("0.1", False), ("0.25", True)):
        found = setting_warnings(
            {**conf, "spark.executor.memoryOverheadFactor": factor}, memory=Memory(2048, 4096, 4), cores=4,
            address_space_bytes=0, start_seconds=1.0, tasks=1, driver_mb=0,
        )
        assert (found == []) is fits


def test_a_local_session_has_no_executor_memory() -> None:
    assert _settings(master="local[4]", **{"executor.memory": "1m"}) == []
