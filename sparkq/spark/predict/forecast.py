"""Forecast what a job will take: list its input, measure one worker, ask the cluster. No image is opened."""
from __future__ import annotations

from dataclasses import dataclass, replace

from pyspark import SparkContext
from pyspark.sql import DataFrame

from sparkq.artifact.file import ModelArtifact
from sparkq.config import AUTO, DEFAULT_MAX_DECODE_BYTES, InferenceConfig
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
from sparkq.spark.input.inventory import Inventory, holds_bytes, take_inventory
from sparkq.spark.predict.planning import JobPlan, plan_job
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
        driver_mb = driver_memory_mb(self.inventory.files)
        return submit_options(self.shape, self.memory, task_cpus=self.task_cpus, driver_mb=driver_mb, tasks=self.partitions)


def forecast_job(
    images_df: DataFrame, artifact: ModelArtifact, *, config: InferenceConfig, place: str, instance: Instance | None = None,
    nodes: int = 1,
) -> Forecast:
    """Say what a job will take. On the driver; with ``auto`` the executors measure their engines.

    Parameters
    ----------
    images_df : DataFrame
        As `sparkq.read_images` gives it.
    artifact, config
        As for `sparkq.predict`.
    place : str
        The input's path, for messages.
    instance : Instance, optional
        Plan for so many nodes of this type, not for the session's cluster.
    nodes : int
        How many.

    Raises
    ------
    ConfigError
        If the instance type cannot run the artifact at all.
    InputError
        If there are no images, or no column that holds them.
    EngineError
        If neither the executors nor the driver can run the model.
    """
    if instance is not None and artifact.manifest.quantization.recipe != "none":
        check_int8(instance)
    jvm_reads = holds_bytes(images_df)
    if jvm_reads:
        find_content_column(images_df.schema, config.content_column)
    context = images_df.sparkSession.sparkContext
    inventory, cpus, measured = take_inventory(images_df, place), task_cpus(settings_of(context)), None
    if AUTO in (config.engine, config.batch_size) and instance is None:
        config, choices = settle(context, artifact, config)
        measured = seconds_per_image(choices, config.engine or "")
    worker = measure_worker(artifact, config, threads=cpus)
    # The worker was measured with an ordinary image; a limit that was raised lets in what takes more.
    more_bytes = max(config.max_decode_bytes - DEFAULT_MAX_DECODE_BYTES, 0)
    needs = WorkerNeeds(worker.resident_bytes + more_bytes, inventory.largest_bytes or 0, jvm_reads)
    shape = _session_shape(context) if instance is None else shape_on(instance, nodes, needs, task_cpus=cpus)
    memory = executor_memory(max(shape.cores // cpus, 1), needs)
    slots = task_slots(context) if instance is None else shape.executors * memory.workers
    cost = ImageCost(measured or 1 / worker.images_per_second, inventory.mean_bytes or ImageCost().mean_bytes, jvm_reads)
    row = row_bytes(artifact.manifest.task, artifact.manifest.output_length, top_k=config.top_k)
    forecast = Forecast(inventory, plan_job(images_df, inventory, cost, slots=slots), worker, shape, memory, cpus, row)
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
        driver_mb=driver_memory_mb(forecast.inventory.files),
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
