"""How an artifact comes to the Python workers: broadcast once, loaded once a worker."""
from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from pyspark import SparkContext

from sparkq.artifact import ModelArtifact
from sparkq.config import AUTO
from sparkq.engine_choice import settled_batch_size
from sparkq.engines import engine_for
from sparkq.engines.base import DEFAULT_BATCH_SIZE
from sparkq.predictor import Predictor
from sparkq.predictor_cache import PredictorKey, cached_predictor

__all__ = ["ShippedModel", "ship_model"]

_MAX_BROADCASTS = 8
_broadcasts: OrderedDict[tuple[str, str], Any] = OrderedDict()


@dataclass(frozen=True)
class ShippedModel:
    """A broadcast artifact, as a task's closure holds it.

    Parameters
    ----------
    broadcast : Broadcast of bytes
        The whole ``.sparkq`` file.
    key : PredictorKey
        Which cached predictor it is.
    """

    broadcast: Any
    key: PredictorKey

    def predictor(self) -> Predictor:
        """The worker's predictor; the broadcast is only read when there is none yet. On a Python worker."""
        return cached_predictor(self.key, self.artifact)

    def artifact(self) -> ModelArtifact:
        """The artifact, read and checked; no copy of its bytes is kept. On a Python worker."""
        artifact = ModelArtifact.loads(self.broadcast.value, place="broadcast artifact")
        # pyspark keeps what it has read, for the life of the worker; it reads its file again if it is asked again.
        if getattr(self.broadcast, "_path", None) is not None:
            vars(self.broadcast).pop("_value", None)
        return artifact


def ship_model(
    context: SparkContext, artifact: ModelArtifact, engine: str | None, *, allow_saturation: bool = False,
    batch_size: int | str = DEFAULT_BATCH_SIZE,
) -> ShippedModel:
    """Broadcast an artifact, once an application however often it is asked for. On the driver.

    Engine or batch size ``auto`` is settled by each worker's node.

    Raises
    ------
    EngineError
        If `engine` does not fit the artifact's recipe.
    """
    engine = engine if engine == AUTO else engine_for(artifact, engine)
    batch_size = settled_batch_size(artifact.manifest, batch_size)
    data = artifact.dumps()
    file_sha256 = hashlib.sha256(data).hexdigest()
    key = (str(context.applicationId), file_sha256)
    if key not in _broadcasts:
        _broadcasts[key] = context.broadcast(data)
    _broadcasts.move_to_end(key)
    while len(_broadcasts) > _MAX_BROADCASTS:
        # Forgotten, not destroyed: a lazy DataFrame may still need it, and Spark frees what nobody holds.
        _broadcasts.popitem(last=False)
    threads = int(context.getConf().get("spark.task.cpus", "1") or 1)
    return ShippedModel(_broadcasts[key], PredictorKey(file_sha256, engine, threads, allow_saturation, batch_size))
