"""How a job is cut into tasks, and the settings that it runs with."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pyspark.sql import DataFrame

from sparkq.artifact.file import ModelArtifact
from sparkq.config import InferenceConfig
from sparkq.errors import EngineError
from sparkq.planning.cluster import task_cpus
from sparkq.planning.partitions import ImageCost, parquet_settings, planned_tasks, scan_settings
from sparkq.planning.warnings import few_row_groups
from sparkq.redaction import get_logger
from sparkq.spark.cluster.executors import settings_of, task_slots
from sparkq.spark.cluster.nodes import NodeChoice, seconds_per_image
from sparkq.spark.cluster.worker_size import measure_worker
from sparkq.spark.input.inventory import Inventory, RowGroups, holds_bytes, row_groups
from sparkq.spark.input.listing import is_listing
from sparkq.spark.session.settings import arrow_settings, session_settings

__all__ = ["JobPlan", "image_cost", "job_row_groups", "plan_job", "planned_images", "with_planned_partitions"]

_FEW_IMAGES_PER_TASK = 64
"""Two tasks a slot of so few images are short enough for any model: no need to measure it."""
_MOST_FOOTERS = 64

_logger = get_logger(__name__)


@dataclass(frozen=True)
class JobPlan:
    """How a job will be cut.

    Parameters
    ----------
    tasks : int
        Partitions.
    slots : int
        Tasks that run at once.
    cost : ImageCost
        What an image costs.
    settings : dict of str to str
        Spark settings while it runs.
    row_groups : int, optional
        Of a Parquet with few files: no more tasks than these have rows.
    row_group_bytes : int
        Of the largest one, which a task that reads it holds whole in the JVM's heap; 0 for other inputs.
    """

    tasks: int
    slots: int
    cost: ImageCost
    settings: dict[str, str]
    row_groups: int | None
    row_group_bytes: int = 0


def with_planned_partitions(
    images_df: DataFrame, *, images: int, cost: ImageCost | None = None, slots: int | None = None,
) -> DataFrame:
    """The same rows in the planned number of tasks. On the driver.

    Image bytes are never shuffled: files and rows with bytes only come into fewer, larger tasks (where there are too few, it
    was for the settings of `plan_job` to cut finer); rows of uris are spread evenly.

    Each task pays tenths of a second before its first row (pyspark's worker reads the directory of every zip on its path
    again), and Spark, which counts 4 MB for opening a file, packs 31 images a task.

    Parameters
    ----------
    images_df : DataFrame
        Images of a file source or table.
    images : int
        How many there are.
    cost : ImageCost, optional
        What one costs; default: that of an ordinary model and photograph.
    slots : int, optional
        Tasks that run at once; default: of this cluster.
    """
    slots = slots or task_slots(images_df.sparkSession.sparkContext)
    wanted = planned_tasks(images, seconds_per_image=(cost or ImageCost()).seconds, slots=slots)
    if not holds_bytes(images_df) or is_listing(images_df):
        # Their bytes are read behind the shuffle. Adaptive execution leaves a number alone that was asked for.
        return images_df.repartition(wanted)
    # Where there are fewer, it changes nothing.
    return images_df.coalesce(wanted)


def image_cost(
    artifact: ModelArtifact, config: InferenceConfig, nodes: Sequence[NodeChoice], inventory: Inventory, *, slots: int,
    threads: int, jvm_reads: bool = False,
) -> ImageCost:
    """Estimate the cost of an image: as the nodes measured it, else by one worker on the driver, unless there is too little
    to do for that.

    Parameters
    ----------
    artifact, config
        What runs.
    nodes : sequence of NodeChoice
        What `sparkq.spark.cluster.nodes.settle` measured.
    inventory : Inventory
        Of the input.
    slots, threads : int
        Tasks that run at once, and ``spark.task.cpus``.
    jvm_reads : bool
        Whether Spark reads the images, and not the workers.
    """
    mean_bytes = ImageCost().mean_bytes if inventory.mean_bytes is None else inventory.mean_bytes
    measured = seconds_per_image(nodes, config.engine or "")
    if measured is None and inventory.images > 2 * slots * _FEW_IMAGES_PER_TASK:
        try:
            measured = 1 / measure_worker(artifact, config, threads=threads).images_per_second
        except EngineError as error:
            # The driver may be another kind of machine than the executors.
            _logger.warning("tasks are planned for an ordinary model, because it does not run on the driver: %s", error.message)
    return ImageCost(ImageCost().inference_seconds if measured is None else measured, mean_bytes, jvm_reads)


def job_row_groups(images_df: DataFrame, inventory: Inventory) -> RowGroups | None:
    """Row groups of a Parquet with images, by the footers of at most 64 files; None for other inputs. On the driver."""
    if not holds_bytes(images_df) or inventory.are_files:
        return None
    return row_groups(images_df, at_most_files=_MOST_FOOTERS)


def plan_job(
    images_df: DataFrame, inventory: Inventory, cost: ImageCost, *, slots: int, groups: RowGroups | None = None,
) -> JobPlan:
    """Tasks and settings of a job, `groups` from `job_row_groups`. Runs nothing. On the driver."""
    tasks = planned_tasks(inventory.images, seconds_per_image=cost.seconds, slots=slots)
    settings: dict[str, str] = {}
    if holds_bytes(images_df):
        if inventory.are_files:
            settings.update(scan_settings(tasks, file_cost_bytes=cost.fixed_cost_bytes))
        largest = inventory.largest_bytes or cost.mean_bytes
        settings.update(arrow_settings(mean_bytes=cost.mean_bytes, largest_bytes=largest))
    if holds_bytes(images_df) and not inventory.are_files:
        # A file is cut anywhere between its row groups, so that it costs nothing of its own.
        settings.update(scan_settings(tasks, file_cost_bytes=1))
        settings.update(parquet_settings(mean_bytes=cost.mean_bytes if groups is None else groups.mean_bytes))
    if groups is None:
        return JobPlan(tasks, slots, cost, settings, None)
    return JobPlan(tasks, slots, cost, settings, groups.count, groups.largest_bytes)


@contextmanager
def planned_images(
    images_df: DataFrame, inventory: Inventory, artifact: ModelArtifact, *, config: InferenceConfig,
    nodes: Sequence[NodeChoice] = (),
) -> Iterator[DataFrame]:
    """The images of a job in its planned tasks; within, the session has the settings that the job needs. On the driver.

    Parameters
    ----------
    images_df : DataFrame
        As `sparkq.read_images` gives it.
    inventory : Inventory
        Of it.
    artifact, config, nodes
        As for `image_cost`.

    Yields
    ------
    DataFrame
        For `sparkq.predict`, whose result is to be written before the context ends.
    """
    context = images_df.sparkSession.sparkContext
    slots = task_slots(context)
    threads, jvm_reads = task_cpus(settings_of(context)), holds_bytes(images_df)
    cost = image_cost(artifact, config, nodes, inventory, slots=slots, threads=threads, jvm_reads=jvm_reads)
    plan = plan_job(images_df, inventory, cost, slots=slots, groups=job_row_groups(images_df, inventory))
    if plan.row_groups is not None and plan.row_groups < plan.tasks:
        _logger.warning("%s", few_row_groups(plan.row_groups, plan.tasks))
    with session_settings(images_df.sparkSession, plan.settings):
        yield with_planned_partitions(images_df, images=inventory.images, cost=cost, slots=slots)
