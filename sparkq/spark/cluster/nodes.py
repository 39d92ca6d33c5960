"""Measurements of a cluster's nodes: engines and batch sizes, one row a host, and one choice for all of them."""
from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from pyspark import SparkContext

from sparkq.artifact.file import ModelArtifact
from sparkq.config import AUTO, InferenceConfig
from sparkq.errors import EngineError
from sparkq.host import cpu_model
from sparkq.redaction import get_logger
from sparkq.spark.cluster.executors import on_every_executor
from sparkq.spark.cluster.shipping import ShippedModel, ship_model
from sparkq.worker.engine_choice import EngineChoice, choose_engine, settled_batch_size
from sparkq.worker.engine_measuring import smallest_near_best
from sparkq.worker.fitting import engine_for

__all__ = ["NodeChoice", "choose_for_all", "measure_nodes", "one_for_all", "seconds_per_image", "settle", "table_of"]

_logger = get_logger(__name__)


@dataclass(frozen=True)
class NodeChoice:
    """The measurements of one host, and its choice.

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
    """Measure engines, or batch sizes, on every node that has an executor now. On the driver.

    Nodes that join later measure when they load the model.

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
    found = [answer.result for answer in on_every_executor(context, partial(_measure, model))]
    # Of one host's executors any says the same: one of them measured.
    return tuple(one for _, one in sorted({one.host: one for one in found}.items()))


def _measure(model: ShippedModel) -> NodeChoice:
    key = model.key
    choice = choose_engine(
        model.artifact(), engine=key.engine, batch_size=key.batch_size, threads=key.threads,
        allow_saturation=key.allow_saturation,
    )
    return NodeChoice(socket.gethostname(), cpu_model(), choice)


def settle(
    context: SparkContext, artifact: ModelArtifact, config: InferenceConfig,
) -> tuple[InferenceConfig, tuple[NodeChoice, ...]]:
    """Settle ``auto`` before a job: measure all nodes, log the table, and choose if one engine is to serve all.

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


def seconds_per_image(nodes: Sequence[NodeChoice], engine: str) -> float | None:
    """Forward pass of one image, the mean of all nodes: each with what it chose, or with `engine` where that is settled.

    None where nothing was measured.
    """
    rates = []
    for node in nodes:
        ran = node.choice.engine if engine == AUTO else engine
        rates += [max((one.images_per_second for one in node.choice.measurements if one.engine == ran), default=0.0)]
    return len(rates) / sum(rates) if sum(rates) else None


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
