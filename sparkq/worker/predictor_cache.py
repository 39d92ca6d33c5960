"""One `Predictor` a Python worker, digest and engine.

A module of its own: cloudpickle ships what is defined in a job script by value, and a cache shipped by value is a new,
empty one in every task. This one is imported, so it lives as long as the worker.
"""
from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from sparkq.artifact.file import ModelArtifact
from sparkq.config import AUTO
from sparkq.engines.base import DEFAULT_BATCH_SIZE
from sparkq.engines.node import describe_node, return_freed_memory
from sparkq.redaction import get_logger
from sparkq.visible import VisibleFormatter
from sparkq.worker.engine_choice import EngineChoice, choose_engine
from sparkq.worker.predictor import Predictor

__all__ = ["PredictorKey", "cached_predictor", "models_loaded"]

_MAX_PREDICTORS = 2
_predictors: OrderedDict[PredictorKey, Predictor] = OrderedDict()
_lock = threading.Lock()
_loads = 0
_logger = get_logger("sparkq.worker")


@dataclass(frozen=True)
class PredictorKey:
    """The key of a cached predictor; two with the same key are the same.

    Parameters
    ----------
    file_sha256 : str
        Of the whole artifact: labels and preprocessing count, not only the payload.
    engine : str
        Engine name, or ``auto``.
    threads : int, optional
        torch's intra-op threads.
    allow_saturation
        As for `Predictor`.
    batch_size : int or str
        Images a forward pass, or ``auto``.
    """

    file_sha256: str
    engine: str
    threads: int | None
    allow_saturation: bool = False
    batch_size: int | str = DEFAULT_BATCH_SIZE


def cached_predictor(key: PredictorKey, load: Callable[[], ModelArtifact]) -> Predictor:
    """The worker's predictor for `key`; `load` is called only when there is none yet.

    Two are kept, because an evaluation holds the INT8 model beside the float one; the least recently used one goes.
    ``auto`` is settled here, by measurement. Each load is a line on the executor's standard error, each choice another.
    """
    global _loads
    with _lock:
        if key in _predictors:
            _predictors.move_to_end(key)
            return _predictors[key]
        _configure_logging()
        predictor = _loaded(key, load())
        _loads += 1
        _predictors[key] = predictor
        while len(_predictors) > _MAX_PREDICTORS:
            _predictors.popitem(last=False)
        # The file's bytes, and what loading took beside them, would stay in this process for good.
        return_freed_memory()
        return predictor


def models_loaded() -> int:
    """How many models this process has loaded so far."""
    return _loads


def _loaded(key: PredictorKey, artifact: ModelArtifact) -> Predictor:
    engine, batch_size = key.engine, key.batch_size
    if AUTO in (engine, batch_size):
        started = time.perf_counter()
        choice = choose_engine(
            artifact, engine=engine, batch_size=batch_size, threads=key.threads, allow_saturation=key.allow_saturation,
        )
        _log_choice(artifact, choice, time.perf_counter() - started)
        engine, batch_size = choice.engine, choice.batch_size
    started = time.perf_counter()
    predictor = Predictor(
        artifact, engine=engine, threads=key.threads, allow_saturation=key.allow_saturation, batch_size=int(batch_size),
    )
    _log_load(predictor, time.perf_counter() - started)
    return predictor


def _log_choice(artifact: ModelArtifact, choice: EngineChoice, seconds: float) -> None:
    table = ", ".join(f"{one.engine} x{one.batch_size} {one.images_per_second:.1f}" for one in choice.measurements)
    refused = "".join(f"; {engine} refused: {reason}" for engine, reason in choice.refused.items())
    _logger.info(
        "chose engine %s batch_size=%d for model %s digest=%s, %s in %.2f s (images per second: %s%s), pid=%d on %s",
        choice.engine, choice.batch_size, artifact.manifest.name, artifact.digest[:12],
        "measured before" if choice.from_cache else "measured", seconds, table, refused, os.getpid(), describe_node(),
    )


def _configure_logging() -> None:
    if not _logger.hasHandlers():
        # A Python worker configures no logging; without a handler of ours the line would be lost.
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(VisibleFormatter("%(asctime)s %(levelname)s sparkq: %(message)s"))
        _logger.addHandler(handler)
        _logger.setLevel(logging.INFO)
        # The package of an engine may give the root logger a handler when it is imported: each line would come twice.
        _logger.propagate = False


def _log_load(predictor: Predictor, seconds: float) -> None:
    _logger.info(
        "loaded model %s digest=%s engine=%s batch_size=%d in %.2f s, golden check %.1f dB in %.2f s, %.2f s of CPU "
        "since this process began, pid=%d on %s",
        predictor.manifest.name, predictor.manifest.payload_sha256[:12], predictor.engine.name, predictor.batch_size,
        seconds - predictor.golden_seconds, predictor.golden_sqnr_db, predictor.golden_seconds, time.process_time(),
        os.getpid(), describe_node(),
    )
