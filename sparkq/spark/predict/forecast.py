"""Forecast what a job will take: list its input, measure one worker, ask the cluster. No image is opened."""
from __future__ import annotations

from dataclasses import dataclass, replace

from pyspark import SparkContext

from sparkq.artifact.file import ModelArtifact
from sparkq.config import AUTO, DEFAULT_MAX_DECODE_BYTES
from sparkq.host import cpu_model
from sparkq.planning.cluster import asked_executors, is_dynamic, is_local, max_executors, task_cpus
from sparkq.planning.instances import Instance, check_int8
from sparkq.planning.memory import ExecutorShape, Memory, WorkerNeeds, driver_memory_mb, executor_memory, shape_on, submit_options
from sparkq.planning.partitions import ImageCost, expected_files, expected_seconds, row_bytes
from sparkq.planning.warnings import JobFacts, job_warnings, setting_warnings
from sparkq.spark.cluster.doctor import examine_executors
from sparkq.spark.cluster.executors import registered_executors, settings_of, task_slots
from sparkq.spark.cluster.nodes import seconds_per_image, settle
from sparkq.spark.cluster.worker_size import WorkerMeasurement, measure_worker
from sparkq.spark.input.columns import find_content_column
from sparkq.spark.input.inventory import Inventory, holds_bytes
from sparkq.spark.input.job_images import JobImages
from sparkq.spark.predict.planning import JobPlan, job_row_groups, plan_job
from sparkq.worker.node_report import mixed_instruction_sets

__all__ = ["Forecast", "forecast_job"]


@dataclass(frozen=True)
class Forecast:
    """The time, memory, tasks and files that a job will take.

    Parameters
    ----------
    inventory : Inventory
        Its input.
    plan : JobPlan
        How it is cut.
    worker : WorkerMeasurement
        One worker, measured on the driver.
    shape : ExecutorShape
        The cluster's executors.
    memory : Memory
        That one of them needs.
    task_cpus : int
        Cores of a task.
    row_bytes : int
        About what a row takes in Parquet.
    is_local : bool
        Whether the driver is the executor.
    warnings : tuple of str
        What to look at before it costs anything.
    """

    inventory: Inventory
    plan: JobPlan
    worker: WorkerMeasurement
    shape: ExecutorShape
    memory: Memory
    task_cpus: int
    row_bytes: int
    is_local: bool
    warnings: tuple[str, ...] = ()

    @property
    def partitions(self) -> int:
        """Tasks that have images."""
        return min(self.plan.tasks, self.plan.row_groups or self.plan.tasks)

    @property
    def slots(self) -> int:
        """Tasks that run at once."""
        return self.plan.slots

    @property
    def cost(self) -> ImageCost:
        """The cost of an image."""
        return self.plan.cost

    @property
    def output_files(self) -> int:
        """Parquet files that the job will write."""
        return expected_files(self.inventory.images, tasks=self.partitions, row_bytes=self.row_bytes)

    @property
    def seconds(self) -> float:
        """Seconds from the first task to the last."""
        return expected_seconds(
            self.inventory.images, seconds_per_image=self.cost.seconds, tasks=self.partitions, slots=self.slots,
            start_seconds=self.worker.start_seconds,
        )

    @property
    def submit(self) -> dict[str, str]:
        """Settings for spark-submit."""
        return submit_options(
            self.shape, self.memory, task_cpus=self.task_cpus, driver_mb=self.driver_mb, tasks=self.partitions,
        )

    @property
    def driver_mb(self) -> int:
        """Heap that the driver needs, in MiB."""
        return driver_memory_mb(self.inventory.files, local=self.memory if self.is_local else None)


def forecast_job(
    images: JobImages, artifact: ModelArtifact, *, instance: Instance | None = None, nodes: int = 1,
) -> Forecast:
    """Say what a job will take. On the driver; with ``auto`` the executors measure their engines.

    Parameters
    ----------
    images : JobImages
        From `sparkq.spark.input.job_images.read_job_images`.
    artifact : ModelArtifact
        As for `sparkq.predict`.
    instance : Instance, optional
        Plan for so many nodes of this type, not for the session's cluster.
    nodes : int
        How many.

    Raises
    ------
    ConfigError
        If the instance type cannot run the artifact at all.
    InputError
        If no column holds images.
    EngineError
        If neither the executors nor the driver can run the model.
    """
    if instance is not None and artifact.manifest.quantization.recipe != "none":
        check_int8(instance)
    config, inventory, jvm_reads = images.config, images.inventory, holds_bytes(images.df)
    if jvm_reads:
        find_content_column(images.df.schema, config.content_column)
    context = images.df.sparkSession.sparkContext
    cpus, measured = task_cpus(settings_of(context)), None
    if AUTO in (config.engine, config.batch_size) and instance is None:
        config, choices = settle(context, artifact, config)
        measured = seconds_per_image(choices, config.engine or "")
    worker = measure_worker(artifact, config, threads=cpus)
    # The worker was measured with an ordinary image; a limit that was raised lets in what takes more.
    more_bytes = max(config.max_decode_bytes - DEFAULT_MAX_DECODE_BYTES, 0)
    groups = job_row_groups(images.df, inventory)
    group_bytes = 0 if groups is None else groups.largest_bytes
    needs = WorkerNeeds(worker.resident_bytes + more_bytes, inventory.largest_bytes or 0, jvm_reads, group_bytes)
    shape = _session_shape(context) if instance is None else shape_on(instance, nodes, needs, task_cpus=cpus)
    memory = executor_memory(max(shape.cores // cpus, 1), needs)
    slots = task_slots(context) if instance is None else shape.executors * memory.workers
    cost = ImageCost(measured or 1 / worker.images_per_second, inventory.mean_bytes or ImageCost().mean_bytes, jvm_reads)
    row = row_bytes(artifact.manifest.task, artifact.manifest.output_length, top_k=config.top_k)
    plan = plan_job(images.df, inventory, cost, slots=slots, groups=groups)
    is_own = instance is None and is_local(settings_of(context))
    forecast = Forecast(inventory, plan, worker, shape, memory, cpus, row, is_own)
    found = _session_warnings(forecast, context) if instance is None else _instance_warnings(forecast, artifact, instance)
    return replace(forecast, warnings=(*_warnings(forecast, artifact, config.max_image_bytes), *found))


def _session_shape(context: SparkContext) -> ExecutorShape:
    """The executors that the session has, or may come to have."""
    conf, slots = settings_of(context), task_slots(context)
    cpus = task_cpus(conf)
    if is_local(conf):
        return ExecutorShape(1, slots * cpus)
    asked = max_executors(conf) if is_dynamic(conf) else asked_executors(conf)
    executors = max(asked or 1, registered_executors(context))
    return ExecutorShape(executors, int(conf.get("spark.executor.cores") or 0) or max(slots * cpus // executors, 1))


def _warnings(forecast: Forecast, artifact: ModelArtifact, max_image_bytes: int) -> list[str]:
    plan, inventory = forecast.plan, forecast.inventory
    warnings = job_warnings(JobFacts(
        inventory.images, plan.tasks, plan.slots, plan.cost, forecast.worker.start_seconds, inventory.largest_bytes,
        max_image_bytes, plan.row_groups,
    ))
    if artifact.manifest.quantization.recipe != "none" and not artifact.manifest.accuracy:
        warnings.append("the artifact says nothing of its accuracy: measure it with sparkq evaluate")
    return warnings


def _session_warnings(forecast: Forecast, context: SparkContext) -> list[str]:
    mixed = mixed_instruction_sets([answer.result for answer in examine_executors(context)])
    worker = forecast.worker
    return ([] if mixed is None else [mixed]) + setting_warnings(
        settings_of(context), memory=forecast.memory, cores=forecast.shape.cores,
        address_space_bytes=worker.address_space_bytes, start_seconds=worker.start_seconds, tasks=forecast.partitions,
        driver_mb=forecast.driver_mb,
    )


def _instance_warnings(forecast: Forecast, artifact: ModelArtifact, instance: Instance) -> list[str]:
    quantization = artifact.manifest.quantization
    warnings = [f"seconds are those of this machine ({cpu_model()}), not of {instance.name} ({instance.cpu})"]
    if quantization.recipe != "none" and quantization.target == "vnni" and "avx512_vnni" not in instance.isa:
        warnings.append(
            f"{instance.name} ({instance.cpu}) may come without AVX-512 VNNI, and its workers would then refuse this artifact of "
            "target vnni; quantize with target avx2",
        )
    limit = forecast.shape.memory_limit_mb
    if limit is not None and limit < forecast.memory.total_mb:
        warnings.append(f"an executor needs {forecast.memory.total_mb} MB, and {instance.name} has {limit} MB for it")
    return warnings
