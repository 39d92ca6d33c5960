"""Passes over preprocessed calibration images on executors: an observed model out, merged states back."""
from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame

from sparkq.quantization.calibration.observations import Observations
from sparkq.quantization.calibration.observed_model import ObservedModel, observe_batches
from sparkq.quantization.calibration.observed_program import dumps_observed
from sparkq.quantization.calibration.worker_cache import cached_observed_model
from sparkq.spark.session.actions import run_action
from sparkq.spark.session.failures import expected_failure
from sparkq.worker.rebatch import rebatch

__all__ = ["SparkImages", "pixels_of"]

_MERGED_AT_ONCE = 64


@dataclass(frozen=True)
class SparkImages:
    """Preprocessed images in a DataFrame, as a `CalibrationSet` needs them.

    Parameters
    ----------
    pixels_df : DataFrame
        Column ``pixels``: uint8 [H, W, 3] as bytes. Read once a pass, so it should be persisted.
    count : int
        Rows.
    example : ndarray of uint8 [H, W, 3]
        One of the images.
    """

    pixels_df: DataFrame
    count: int
    example: npt.NDArray[np.uint8]

    def observe(self, model: ObservedModel) -> Observations:
        """Run `model` on executors over all images, and merge what it saw. On the driver.

        Raises
        ------
        ModelError
            If a program cannot hold the model, or it fails on an image.
        """
        context = self.pixels_df.sparkSession.sparkContext
        archive = dumps_observed(model, self.example)
        broadcast = context.broadcast(archive)
        observe = partial(
            _observe, broadcast=broadcast, sha256=hashlib.sha256(archive).hexdigest(), batch_size=model.batch_size,
            shape=self.example.shape,
        )
        states = self.pixels_df.select("pixels").mapInArrow(observe, "state binary")
        try:
            # States of many tasks are megabytes each: they meet on executors first, in groups, and only these on the driver.
            tasks = self.pixels_df.rdd.getNumPartitions()
            if tasks > _MERGED_AT_ONCE:
                states = states.repartition(math.isqrt(tasks)).mapInArrow(_merge, "state binary")
            rows = run_action(states.collect)
        except PySparkException as error:
            raise expected_failure(error) or error from error
        finally:
            broadcast.destroy()
        return _merged(row["state"] for row in rows)


def pixels_of(batch: pa.RecordBatch, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Column ``pixels`` of a record batch as uint8 [N, H, W, 3]."""
    return np.stack([np.frombuffer(value.as_buffer(), np.uint8).reshape(shape) for value in batch.column("pixels")])


def _observe(
    batches: Iterable[pa.RecordBatch], *, broadcast: Any, sha256: str, batch_size: int, shape: tuple[int, ...],
) -> Iterator[pa.RecordBatch]:
    full = (pixels_of(batch, shape) for batch in rebatch(iter(batches), batch_size))
    first = next(full, None)
    if first is not None:
        run = cached_observed_model(sha256, lambda: bytes(broadcast.value))
        observed = observe_batches(run, _chained(first, full), batch_size)
        yield _state_batch(observed)


def _chained(first: npt.NDArray[np.uint8], rest: Iterator[npt.NDArray[np.uint8]]) -> Iterator[npt.NDArray[np.uint8]]:
    yield first
    yield from rest


def _merge(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    states = (value.as_py() for batch in batches for value in batch.column("state"))
    yield _state_batch(_merged(states))


def _merged(states: Iterable[bytes]) -> Observations:
    merged = Observations()
    for state in states:
        merged.merge(Observations.loads(bytes(state)))
    return merged


def _state_batch(observations: Observations) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([observations.dumps()], pa.binary())], names=["state"])
