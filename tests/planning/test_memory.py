"""Memory of executors, and the instances that they run on."""
from __future__ import annotations

import gzip
import importlib.resources
import json
from dataclasses import replace
from pathlib import Path

import moto
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sparkq.errors import ConfigError
from sparkq.planning.instances import Instance, check_int8, instance_named
from sparkq.planning.memory import ExecutorShape, WorkerNeeds, driver_memory_mb, executor_memory, shape_on, submit_options

MB = 2**20
NEEDS = st.builds(WorkerNeeds, st.integers(100 * MB, 4000 * MB), st.integers(0, 500 * MB), st.booleans())


@settings(deadline=None)
@given(NEEDS, st.integers(1, 64))
def test_an_executor_holds_its_workers(needs: WorkerNeeds, workers: int) -> None:
    """All of them beside the JVM, which has what Spark itself would add."""
    memory = executor_memory(workers, needs)
    assert memory.overhead_mb * MB >= workers * needs.resident_bytes + 384 * MB
    assert memory.overhead_mb >= 0.1 * memory.heap_mb and memory.total_mb == memory.heap_mb + memory.overhead_mb
    assert executor_memory(workers + 1, needs).total_mb >= memory.total_mb


def test_a_jvm_that_reads_needs_more() -> None:
    reads, listed = (executor_memory(4, WorkerNeeds(500 * MB, MB, reads)) for reads in (True, False))
    assert (listed.heap_mb, reads.heap_mb) == (1024, 2048)


@settings(deadline=None)
@given(NEEDS, st.sampled_from(["c5.large", "c5.18xlarge", "m5.4xlarge", "c7i.48xlarge", "c7g.medium"]), st.integers(1, 50),
       st.integers(1, 4))
def test_executors_fit_on_their_nodes(needs: WorkerNeeds, name: str, nodes: int, task_cpus: int) -> None:
    """Neither more cores nor more memory than there are, unless not even one task fits: then the limit says so."""
    instance = instance_named(name)
    shape = shape_on(instance, nodes, needs, task_cpus=task_cpus)
    assert shape.executors % nodes == 0 and shape.cores % task_cpus == 0
    a_node, total_mb = shape.executors // nodes, executor_memory(shape.cores // task_cpus, needs).total_mb
    assert shape.memory_limit_mb is not None and a_node * shape.memory_limit_mb <= instance.memory_mb
    if total_mb <= shape.memory_limit_mb and task_cpus < instance.vcpus:
        assert a_node * shape.cores < instance.vcpus
        assert a_node * total_mb < instance.memory_mb


def test_a_c5_18xlarge() -> None:
    """Seven executors of ten cores on 72 vCPUs and 144 GiB."""
    shape = shape_on(instance_named("c5.18xlarge"), 10, WorkerNeeds(700 * MB, MB, False), task_cpus=1)
    assert (shape.executors, shape.cores) == (70, 10)


def test_settings_for_spark_submit() -> None:
    """No more executors than there are tasks for, and no limit on address space."""
    memory = executor_memory(10, WorkerNeeds(700 * MB, MB, False))
    found = submit_options(ExecutorShape(70, 10), memory, task_cpus=1, driver_mb=1024, tasks=25)
    assert found["spark.executor.instances"] == "3" and found["spark.executor.cores"] == "10"
    assert found["spark.executor.memory"] == f"{memory.heap_mb}m"
    assert found["spark.executor.memoryOverhead"] == f"{memory.overhead_mb}m"
    assert "spark.executor.pyspark.memory" not in found and found["spark.speculation"] == "false"


def test_the_driver_holds_the_list_of_files() -> None:
    assert driver_memory_mb(100_000) <= 1024 < driver_memory_mb(1_000_000)


def test_sizes_are_amazons() -> None:
    """All of a family, as DescribeInstanceTypes answered when moto asked."""
    with gzip.open(Path(moto.__file__).parent / "ec2" / "resources" / "instance_types.json.gz") as stream:
        types = json.load(stream)
    facts = yaml.safe_load(importlib.resources.files("sparkq.planning").joinpath("instances.yaml").read_text("utf-8"))
    ours = {f"{family}.{size}" for family in facts for size in facts[family]["sizes"]}
    assert ours == {name for name in types if name.partition(".")[0] in facts}
    for name in ours:
        found, told = instance_named(name), types[name]
        assert (found.vcpus, found.memory_mb) == (told["VCpuInfo"]["DefaultVCpus"], told["MemoryInfo"]["SizeInMiB"]), name
        assert ("avx2" in found.isa) == (told["ProcessorInfo"]["SupportedArchitectures"] == ["x86_64"])


def test_int8_is_refused_on_graviton() -> None:
    check_int8(instance_named("c5.large"))
    with pytest.raises(ConfigError, match=r"c7g\.large: expected an x86-64 CPU .* got AWS Graviton3"):
        check_int8(instance_named("c7g.large"))


@pytest.mark.parametrize(("name", "vcpus", "gib"), [
    ("c5.18xlarge", 72, 144), ("m5.24xlarge", 96, 384), ("c6i.4xlarge", 16, 32), ("c7i.48xlarge", 192, 384),
    ("c7g.16xlarge", 64, 128),
])
def test_instances(name: str, vcpus: int, gib: int) -> None:
    """As AWS's tables have them."""
    instance = instance_named(name)
    assert (instance.name, instance.vcpus, instance.memory_mb) == (name, vcpus, 1024 * gib)
    assert ("avx512_vnni" in instance.isa) == name.startswith(("c6i", "c7i"))


@pytest.mark.parametrize(("name", "hint"), [
    ("c5.20xlarge", "18xlarge"), ("c6i", "32xlarge"), ("p3.large", "cluster"),
])
def test_unknown_instances(name: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        instance_named(name)
    assert name in caught.value.message and hint in str(caught.value.hint)


def test_an_instance_too_small() -> None:
    """One executor a node, and a limit below its need."""
    tiny = Instance("tiny", 2, 2048, "any", ())
    needs = WorkerNeeds(3000 * MB, MB, True)
    shape = shape_on(tiny, 3, needs, task_cpus=1)
    assert (shape.executors, shape.cores) == (3, 1)
    assert (shape.memory_limit_mb or 0) < executor_memory(1, needs).total_mb


def test_a_row_group_is_in_the_heap_of_each_task() -> None:
    """Whole, beside a small batch of it; on a local master in that of the driver, which is not told to take less."""
    needs = WorkerNeeds(400 * 2**20, 0, True)
    large = replace(needs, row_group_bytes=446 * 10**6)
    usual, more = executor_memory(2, needs), executor_memory(2, large)
    assert 2 * 446e6 / 2**20 <= more.heap_mb - usual.heap_mb <= 2 * 446e6 / 2**20 + 512
    assert driver_memory_mb(1, local=executor_memory(1, large)) > 446e6 / 2**20 + 384 > driver_memory_mb(1)
    # What Spark's default of 1 GB holds is not warned of.
    assert driver_memory_mb(1, local=usual) <= 1024
