"""How an artifact comes to the Python workers: sent once, loaded once a worker."""
from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from pyspark import SparkContext

from sparkq.artifact.file import ModelArtifact
from sparkq.config import AUTO, InferenceConfig
from sparkq.engines.base import DEFAULT_BATCH_SIZE
from sparkq.spark.session.connect import add_to_session
from sparkq.worker.engine_choice import settled_batch_size
from sparkq.worker.fitting import engine_for
from sparkq.worker.predictor import Predictor
from sparkq.worker.predictor_cache import PredictorKey, cached_predictor

__all__ = ["ShippedModel", "ship_in_session", "ship_model"]

_MAX_BROADCASTS = 8
_broadcasts: OrderedDict[tuple[str, str], Any] = OrderedDict()


@dataclass(frozen=True)
class ShippedModel:
    """An artifact on its way, as a task's closure holds it.

    Parameters
    ----------
    sent : Broadcast of bytes or SessionFile
        The whole ``.sparkq`` file.
    key : PredictorKey
        Which cached predictor it is.
    """

    sent: Any
    key: PredictorKey

    def predictor(self) -> Predictor:
        """The worker's predictor; it is only read when there is none yet. On a Python worker."""
        return cached_predictor(self.key, self.artifact)

    def artifact(self) -> ModelArtifact:
        """The artifact, read and checked; no copy of its bytes is kept. On a Python worker."""
        artifact = ModelArtifact.loads(self.sent.value, place="broadcast artifact")
        # pyspark keeps what it has read, for the life of the worker; it reads its file again if it is asked again.
        if getattr(self.sent, "_path", None) is not None:
            vars(self.sent).pop("_value", None)
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
    task_cpus = context.getConf().get("spark.task.cpus", "1")
    data, key = _file_and_key(artifact, engine, task_cpus, allow_saturation, batch_size)
    place = (str(context.applicationId), key.file_sha256)
    if place not in _broadcasts:
        _broadcasts[place] = context.broadcast(data)
    _broadcasts.move_to_end(place)
    while len(_broadcasts) > _MAX_BROADCASTS:
        # Forgotten, not destroyed: a lazy DataFrame may still need it, and Spark frees what nobody holds.
        _broadcasts.popitem(last=False)
    return ShippedModel(_broadcasts[place], key)


def ship_in_session(session: Any, artifact: ModelArtifact, config: InferenceConfig) -> ShippedModel:
    """The same for a session of Spark Connect, once a session. On the client.

    Raises
    ------
    EngineError
        If the engine does not fit the artifact's recipe.
    """
    task_cpus = session.conf.get("spark.task.cpus", "1")
    data, key = _file_and_key(artifact, config.engine, task_cpus, config.allow_saturation, config.batch_size)
    return ShippedModel(add_to_session(session, data, key.file_sha256), key)


def _file_and_key(
    artifact: ModelArtifact, engine: str | None, task_cpus: str | None, allow_saturation: bool, batch_size: int | str,
) -> tuple[bytes, PredictorKey]:
    engine = engine if engine == AUTO else engine_for(artifact, engine)
    batch_size = settled_batch_size(artifact.manifest, batch_size)
    data = artifact.dumps()
    return data, PredictorKey(hashlib.sha256(data).hexdigest(), engine, int(task_cpus or 1), allow_saturation, batch_size)
