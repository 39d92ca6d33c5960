"""``sparkq plan`` prints what a job will take, from metadata alone."""
from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sparkq.cli.command import Command
from sparkq.config import InferenceJob, SessionOptions
from sparkq.config.checks import check_positive
from sparkq.errors import ConfigError
from sparkq.storage import shown

if TYPE_CHECKING:
    from sparkq.spark.predict.forecast import Forecast

__all__ = ["COMMAND", "PlanOptions"]


@dataclass(frozen=True, kw_only=True)
class PlanOptions(InferenceJob, SessionOptions):
    """Options of ``sparkq plan``.

    Parameters
    ----------
    instance : str, optional
        Plan for nodes of this EC2 instance type (c5, m5, c6i, c7i, c7g) instead of the session's cluster.
    nodes : int, optional
        How many of them; default 1.
    """

    instance: str | None = None
    nodes: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nodes is not None:
            check_positive("nodes", self.nodes)
            if self.instance is None:
                raise ConfigError("nodes: expected an instance type for them; got none.", hint="--instance c6i.4xlarge.")


def _run(options: PlanOptions) -> dict[str, Any]:
    from sparkq.artifact.file import ModelArtifact
    from sparkq.planning.instances import instance_named
    from sparkq.spark.input.job_images import read_job_images
    from sparkq.spark.predict.forecast import forecast_job
    from sparkq.spark.session.session import session_for
    from sparkq.workflows.places import require_input

    require_input(options.input)
    artifact = ModelArtifact.load(options.model, sha256=options.model_sha256)
    instance = None if options.instance is None else instance_named(options.instance)
    with session_for(options.master) as spark:
        forecast = forecast_job(read_job_images(spark, options), artifact, instance=instance, nodes=options.nodes or 1)
    return {"input": shown(options.input), "model": artifact.manifest.name, **_document(forecast)}


def _document(forecast: Forecast) -> dict[str, Any]:
    inventory, worker, memory, shape = forecast.inventory, forecast.worker, forecast.memory, forecast.shape
    return {
        "images": inventory.images,
        "bytes": inventory.bytes,
        "largest_bytes": inventory.largest_bytes,
        "partitions": forecast.partitions,
        "images_per_task": round(inventory.images / forecast.partitions, 1),
        "output_files": forecast.output_files,
        "slots": forecast.slots,
        "milliseconds_per_image": round(1e3 * forecast.cost.seconds, 3),
        "preparing_share": round(forecast.cost.preparing_share, 3),
        "seconds": round(forecast.seconds, 1),
        "worker": dataclasses.asdict(worker),
        "executor": {**dataclasses.asdict(shape), **dataclasses.asdict(memory), "total_mb": memory.total_mb},
        "submit": forecast.submit,
        "warnings": list(forecast.warnings),
    }


def _show(result: dict[str, Any]) -> str:
    worker, executor = result["worker"], result["executor"]
    size = "unknown" if result["bytes"] is None else f"{result['bytes'] / 1e6:.1f} MB"
    rows = {
        "images": f"{result['images']}, {size}",
        "partitions": f"{result['partitions']}, {result['images_per_task']} images a task, {result['slots']} tasks at once",
        "output": f"{result['output_files']} Parquet files",
        "time": f"{result['seconds']} s estimated; {result['milliseconds_per_image']} ms an image, "
        f"{100 * result['preparing_share']:.0f} % of it reading and decoding",
        "worker": f"{worker['resident_bytes'] / 2**20:.0f} MB measured with engine {worker['engine']}, batch size "
        f"{worker['batch_size']}; {worker['images_per_second']:.1f} images per second without decoding",
        "executor": f"{executor['total_mb']} MB: {executor['workers']} workers and a heap of {executor['heap_mb']} MB",
    }
    lines = [f"{result['input']} with {result['model']}", *(f"{key:<11} {value}" for key, value in rows.items())]
    lines += ["spark-submit", *(f"    --conf {key}={value}" for key, value in result["submit"].items())]
    return "\n".join([*lines, *(f"warning: {warning}" for warning in result["warnings"])])


COMMAND = Command(
    PlanOptions, _run, _show,
    summary="Print what a job will take (tasks, files, time, memory, spark-submit options) without opening an image.",
    example="sparkq plan --model model.sparkq --input photos/ --instance c6i.4xlarge --nodes 10",
)
