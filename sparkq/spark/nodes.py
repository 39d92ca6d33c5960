"""What the nodes of a cluster measure: engines and batch sizes, one row a host, and one choice for all of them."""
from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from pyspark import SparkContext

from sparkq.artifact import ModelArtifact
from sparkq.config import AUTO, InferenceConfig
from sparkq.engine_choice import EngineChoice, choose_engine, settled_batch_size
from sparkq.engine_measuring import smallest_near_best
from sparkq.engines import engine_for
from sparkq.errors import EngineError
from sparkq.node import cpu_model
from sparkq.spark.actions import run_action
from sparkq.spark.failures import expected_failure
from sparkq.spark.shipping import ShippedModel, ship_model

__all__ = ["NodeChoice", "choose_for_all", "measure_nodes", "one_for_all", "settle", "table_of"]

_HELD_SECONDS = 1.0
"""A task keeps its core so long, also if it has nothing to measure: else a quick executor would take the others' tasks."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class NodeChoice:
    """What one host measured.

    Parameters
    ----------
    host, cpu : str
        Its name and CPU model.
    choice : EngineChoice
        Its engines and batch sizes.
    """

    host: str
    cpu: str
    choice: EngineChoice


def measure_nodes(context: SparkContext, artifact: ModelArtifact, config: InferenceConfig) -> tuple[NodeChoice, ...]:
    """Measure engines, or batch sizes, on every node that Spark gives a task now. Runs a job of one task a core.

    Barrier tasks would be sure to run at once, but Spark refuses them with dynamic allocation. Nodes that join later
    measure when they load the model. On the driver.

    Parameters
    ----------
    context : SparkContext
        Where.
    artifact : ModelArtifact
        Broadcast here, as `sparkq.predict` does.
    config : InferenceConfig
        ``engine`` or ``batch_size`` is ``auto``.

    Returns
    -------
    tuple of NodeChoice
        One a host, by name.

    Raises
    ------
    EngineError
        If no engine runs the artifact rightly on one of them.
    """
    model = ship_model(
        context, artifact, config.engine, allow_saturation=config.allow_saturation, batch_size=config.batch_size,
    )
    tasks = max(context.defaultParallelism // int(context.getConf().get("spark.task.cpus", "1") or 1), 1)
    cores = context.parallelize(range(tasks), tasks).mapPartitions(partial(_measure, model=model))
    try:
        found = run_action(cores.collect)
    # Of an RDD's action it is py4j's error, which differs from version to version.
    except Exception as error:
        raise expected_failure(error) or error from error
    # Of one host's workers any says the same: one of them measured.
    return tuple(one for _, one in sorted({one.host: one for one in found}.items()))


def _measure(_: Iterable[int], *, model: ShippedModel) -> Iterator[NodeChoice]:
    started = time.monotonic()
    key = model.key
    choice = choose_engine(
        model.artifact(), engine=key.engine, batch_size=key.batch_size, threads=key.threads,
        allow_saturation=key.allow_saturation,
    )
    time.sleep(max(_HELD_SECONDS - (time.monotonic() - started), 0))
    yield NodeChoice(socket.gethostname(), cpu_model(), choice)


def settle(
    context: SparkContext, artifact: ModelArtifact, config: InferenceConfig,
) -> tuple[InferenceConfig, tuple[NodeChoice, ...]]:
    """What a command does about ``auto`` before its job: measure all nodes, log the table, and choose if one is to serve all.

    Returns
    -------
    (InferenceConfig, tuple of NodeChoice)
        `config`, which still says ``auto`` where each node is to take its own; no nodes where there is no ``auto``.
    """
    if config.same_everywhere:
        return choose_for_all(context, artifact, config)
    config = replace(config, batch_size=settled_batch_size(artifact.manifest, config.batch_size))
    if AUTO not in (config.engine, config.batch_size):
        return config, ()
    nodes = measure_nodes(context, artifact, config)
    _logger.info("each node runs its fastest\n%s", table_of(nodes))
    return config, nodes


def choose_for_all(
    context: SparkContext, artifact: ModelArtifact, config: InferenceConfig,
) -> tuple[InferenceConfig, tuple[NodeChoice, ...]]:
    """One engine and batch size for all nodes: those that every node can run, with the most images per second in all.

    Parameters
    ----------
    context, artifact, config
        As for `measure_nodes`.

    Returns
    -------
    (InferenceConfig, tuple of NodeChoice)
        `config` without ``auto``, and what it was chosen from.

    Raises
    ------
    EngineError
        If no engine runs on all of them.
    """
    config = replace(config, batch_size=settled_batch_size(artifact.manifest, config.batch_size), same_everywhere=False)
    nodes: tuple[NodeChoice, ...] = ()
    if config.engine == AUTO:
        nodes = measure_nodes(context, artifact, config)
        config = replace(config, engine=one_for_all(nodes))
    if config.batch_size == AUTO:
        # A node has measured the sizes of its own fastest engine only.
        sized = measure_nodes(context, artifact, replace(config, engine=engine_for(artifact, config.engine)))
        config = replace(config, batch_size=_batch_size_for_all(sized))
        nodes = nodes or sized
    _logger.info("all nodes run engine %s with batch size %s\n%s", config.engine, config.batch_size, table_of(nodes))
    return config, nodes


def one_for_all(nodes: Sequence[NodeChoice]) -> str:
    """The engine that every node runs, with the most images per second in all. Raises `EngineError` if there is none."""
    rates: list[dict[str, float]] = []
    for node in nodes:
        # Of an engine with several batch sizes the first was measured beside the other engines.
        first = {one.engine: one.images_per_second for one in reversed(node.choice.measurements)}
        rates.append(first)
    common = set.intersection(*(set(node) for node in rates))
    if not common:
        runs = "; ".join(f"{node.host} runs {', '.join(sorted(rate))}" for node, rate in zip(nodes, rates, strict=True))
        raise EngineError(
            f"engine auto: expected an engine that all nodes run; got none ({runs}).",
            hint="install what is missing, or leave --same-everywhere out.",
        )
    return max(sorted(common), key=lambda engine: sum(node[engine] for node in rates))


def _batch_size_for_all(nodes: tuple[NodeChoice, ...]) -> int:
    rates = [{one.batch_size: one.images_per_second for one in node.choice.measurements} for node in nodes]
    common = set.intersection(*(set(node) for node in rates))
    return smallest_near_best({size: sum(node[size] for node in rates) for size in common})


def table_of(nodes: tuple[NodeChoice, ...]) -> str:
    """Lines: host, CPU, engine, batch size, images per second of one worker; what is out, with its reason."""
    lines = [f"{'host':24} {'engine':10} {'batch':>5} {'images/s':>9}  CPU"]
    for node in nodes:
        lines += [
            f"{node.host:24} {one.engine:10} {one.batch_size:5} {one.images_per_second:9.1f}  {node.cpu}"
            for one in node.choice.measurements
        ]
        lines += [f"{node.host:24} {engine:10} {'-':>5} {'-':>9}  {reason}" for engine, reason in node.choice.refused.items()]
    return "\n".join(lines)
