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

from sparkq.artifact import ModelArtifact
from sparkq.engines.base import DEFAULT_BATCH_SIZE
from sparkq.node import describe_node
from sparkq.predictor import Predictor

__all__ = ["PredictorKey", "cached_predictor"]

_MAX_PREDICTORS = 2
_predictors: OrderedDict[PredictorKey, Predictor] = OrderedDict()
_lock = threading.Lock()
_logger = logging.getLogger("sparkq.worker")


@dataclass(frozen=True)
class PredictorKey:
    """What makes two predictors the same.

    Parameters
    ----------
    file_sha256 : str
        Of the whole artifact: labels and preprocessing count, not only the payload.
    engine : str
        Engine name.
    threads : int, optional
        torch's intra-op threads.
    allow_saturation, batch_size
        As for `Predictor`.
    """

    file_sha256: str
    engine: str
    threads: int | None
    allow_saturation: bool = False
    batch_size: int = DEFAULT_BATCH_SIZE


def cached_predictor(key: PredictorKey, load: Callable[[], ModelArtifact]) -> Predictor:
    """The worker's predictor for `key`; `load` is called only when there is none yet.

    Two are kept, because an evaluation holds the INT8 model beside the float one; the least recently used one goes.
    Each load is one line on the executor's standard error.
    """
    with _lock:
        if key in _predictors:
            _predictors.move_to_end(key)
            return _predictors[key]
        started = time.perf_counter()
        predictor = Predictor(
            load(), engine=key.engine, threads=key.threads, allow_saturation=key.allow_saturation,
            batch_size=key.batch_size,
        )
        _predictors[key] = predictor
        while len(_predictors) > _MAX_PREDICTORS:
            _predictors.popitem(last=False)
        _log_load(predictor, time.perf_counter() - started)
        return predictor


def _log_load(predictor: Predictor, seconds: float) -> None:
    if not _logger.hasHandlers():
        # A Python worker configures no logging; without a handler of ours the line would be lost.
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s sparkq: %(message)s"))
        _logger.addHandler(handler)
        _logger.setLevel(logging.INFO)
    _logger.info(
        "loaded model %s digest=%s engine=%s in %.2f s, golden check %.1f dB, pid=%d on %s",
        predictor.manifest.name, predictor.manifest.payload_sha256[:12], predictor.engine.name, seconds,
        predictor.golden_sqnr_db, os.getpid(), describe_node(),
    )
