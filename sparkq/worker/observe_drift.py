"""The worker's part of measuring drift: a partition's images and their effect on a model, as one row of sums. No Spark here."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sparkq.artifact.calibration_profile import CalibrationProfile
from sparkq.artifact.manifest import Manifest
from sparkq.config import InferenceConfig
from sparkq.errors import EngineError
from sparkq.metrics.drift import DriftSums, required_profile
from sparkq.worker.decode_batches import decoded_batches
from sparkq.worker.predictor import Predictor

if TYPE_CHECKING:
    from sparkq.engines.observed import Observation

__all__ = ["DRIFT_FIELDS", "observe_partition", "sums_of"]

DRIFT_FIELDS = pa.schema([
    ("images", pa.int64()), ("score_counts", pa.list_(pa.int64())), ("label_counts", pa.list_(pa.int64())),
    ("saturated", pa.list_(pa.float64())), ("saturated_squares", pa.list_(pa.float64())),
])
"""`DriftSums` to Arrow: one row a partition."""

_NOTHING = (np.zeros(0, np.int64), np.zeros(0, np.int64))


def observe_partition(
    batches: Iterator[pa.RecordBatch], *, predictor: Callable[[], Predictor], image_column: str, config: InferenceConfig,
) -> Iterator[pa.RecordBatch]:
    """Sum up what a partition's images do to the model. On a Python worker.

    Parameters
    ----------
    batches : iterator of RecordBatch
        With a column `image_column`.
    predictor : callable
        Gives the worker's predictor, on the engine that calibration ran on.
    image_column, config
        As for `sparkq.worker.predict.predict_partition`.

    Yields
    ------
    RecordBatch
        One row of `DRIFT_FIELDS`; none of an empty partition.

    Raises
    ------
    EngineError
        If the payload's activations are not those of its manifest.
    """
    sums: DriftSums | None = None
    for model, decoded in decoded_batches(predictor, batches, image_column=image_column, config=config):
        sums = sums or DriftSums.zeros(model.manifest)
        for observation in _observations(model, decoded.images):
            sums += _sums(observation, model)
    if sums is not None:
        yield _row(sums)


def _row(sums: DriftSums) -> pa.RecordBatch:
    counted = [sums.score_counts, sums.label_counts, sums.saturated, sums.saturated_squares]
    columns = [[sums.images], *([values.tolist()] for values in counted)]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, DRIFT_FIELDS, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=DRIFT_FIELDS)


def sums_of(row: dict[str, Any]) -> DriftSums:
    """A row of `DRIFT_FIELDS` as it was summed up."""
    return DriftSums(
        int(row["images"]), np.asarray(row["score_counts"], np.int64), np.asarray(row["label_counts"], np.int64),
        np.asarray(row["saturated"], np.float64), np.asarray(row["saturated_squares"], np.float64),
    )


def _observations(model: Predictor, images: npt.NDArray[np.uint8]) -> Iterator[Observation]:
    """All images at once; one at a time where the model fails on one of them, which is then left out."""
    # Not above: a driver, which only sums up, does without torch.
    from sparkq.engines.observed import observe

    config = model.manifest.quantization
    levels = config.activation_levels if required_profile(model.manifest).activations else None
    try:
        if len(images):
            yield observe(model.engine, images, levels=levels)
    except RuntimeError:
        if len(images) > 1:
            for index in range(len(images)):
                yield from _observations(model, images[index:index + 1])


def _sums(observation: Observation, model: Predictor) -> DriftSums:
    manifest = model.manifest
    profile = required_profile(manifest)
    expected = tuple(activation.name for activation in profile.activations)
    if observation.names != expected:
        raise EngineError(
            f"drift: expected the {len(expected)} quantized activations that the manifest of artifact {manifest.name!r} names; "
            f"this node's torch runs {len(observation.names)}: {', '.join(sorted({*observation.names} ^ {*expected})[:5])}.",
            hint=f"the artifact was written with torch {manifest.torch_version}; use it on the workers, too.",
        )
    finite = np.isfinite(observation.outputs).all(axis=1)
    best = model.model_task.best(observation.outputs[finite])
    shares = observation.saturated[finite]
    counts = _NOTHING if best is None else _counted(best, profile, manifest)
    return DriftSums(len(shares), *counts, shares.sum(axis=0), (shares**2).sum(axis=0))


def _counted(
    best: tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]], profile: CalibrationProfile, manifest: Manifest,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    labels, scores = best
    return profile.score_histogram(scores), np.bincount(labels, minlength=manifest.classes)
