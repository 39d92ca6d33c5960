"""One small task on every executor: what it is, and whether it runs the model rightly."""
from __future__ import annotations

from functools import partial

from pyspark import SparkContext

from sparkq.artifact.file import ModelArtifact
from sparkq.planning.cluster import task_cpus
from sparkq.spark.cluster.executors import Answer, on_every_executor, settings_of
from sparkq.spark.cluster.shipping import ShippedModel, ship_model
from sparkq.worker.node_report import NodeReport, examine_node

__all__ = ["examine_executors"]


def examine_executors(
    context: SparkContext, artifact: ModelArtifact | None = None, *, engine: str | None = None, allow_saturation: bool = False,
) -> tuple[Answer[NodeReport], ...]:
    """Examine every executor that is there. On the driver.

    Parameters
    ----------
    context : SparkContext
        Where.
    artifact : ModelArtifact, optional
        Broadcast here, and loaded into every engine that fits it.
    engine : str, optional
        The one that the job will run; default: the first that fits.
    allow_saturation : bool
        As for `Predictor`.

    Returns
    -------
    tuple of Answer
        A report an executor, by host.

    Raises
    ------
    EngineError
        If `engine` does not fit the artifact's recipe.
    """
    threads = task_cpus(settings_of(context))
    if artifact is None:
        return on_every_executor(context, partial(examine_node, None, threads=threads))
    model = ship_model(context, artifact, engine, allow_saturation=allow_saturation)
    return on_every_executor(context, partial(_examine, model))


def _examine(model: ShippedModel) -> NodeReport:
    key = model.key
    return examine_node(model.artifact(), engine=key.engine, threads=key.threads or 1, allow_saturation=key.allow_saturation)
