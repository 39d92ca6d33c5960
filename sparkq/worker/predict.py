"""Predict a partition: record batches with images come in, record batches with predictions go out. No Spark here.

Every input row leaves in the same record batch as its prediction, in the same order, exactly once.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import numpy as np
import pyarrow as pa

from sparkq.config import InferenceConfig
from sparkq.error_codes import ErrorCode
from sparkq.images.read import ReadObject, read_object
from sparkq.model_tasks.columns import Outcome, prediction_columns
from sparkq.worker.decode_batches import PREFETCHED_BYTES, DecodedBatch, decoded_batches
from sparkq.worker.predictor import Predictor

__all__ = ["predict_partition"]

_MAX_MESSAGE_CHARACTERS = 300


def predict_partition(
    batches: Iterator[pa.RecordBatch], *, predictor: Callable[[], Predictor], image_column: str, config: InferenceConfig,
    read: ReadObject = read_object, prefetch_bytes: int = PREFETCHED_BYTES,
) -> Iterator[pa.RecordBatch]:
    """Predict every row of a partition.

    Parameters
    ----------
    batches : iterator of RecordBatch
        With a column `image_column`, and any others.
    predictor : callable
        Gives the worker's predictor; called when the first batch arrives, so an empty partition loads no model.
    image_column : str
        Encoded images or image structs, whose bytes are dropped; uris, where `config` names a ``uri_column``. All other columns
        are kept.
    config : InferenceConfig
        ``top_k``, limits.
    read, prefetch_bytes
        As for `sparkq.worker.decode_batches.decoded_batches`.

    Yields
    ------
    RecordBatch
        The input's columns and those of `sparkq.model_tasks.columns`, one row an input row, in order.
    """
    made = decoded_batches(
        predictor, batches, image_column=image_column, config=config, read=read, prefetch_bytes=prefetch_bytes,
    )
    with closing(made):
        for model, decoded in made:
            columns = prediction_columns(_outcomes(model, decoded, config), model.manifest, engine=model.engine.name)
            yield from _beside(decoded.columns, columns)


def _beside(kept: list[pa.RecordBatch], columns: dict[str, pa.Array]) -> list[pa.RecordBatch]:
    if not kept:
        return [pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))]
    table = pa.Table.from_batches(kept)
    for name, column in columns.items():
        table = table.append_column(name, column)
    # One batch, or several where a column of the input takes more than Arrow can join.
    batches: list[pa.RecordBatch] = table.combine_chunks().to_batches()
    return batches


def _outcomes(model: Predictor, decoded: DecodedBatch, config: InferenceConfig) -> list[Outcome]:
    outcomes = {
        row: Outcome(error_code=error.code, error_message=str(error)[:_MAX_MESSAGE_CHARACTERS])
        for row, error in decoded.errors.items()
    }
    outcomes.update(zip(decoded.rows, _predict(model, decoded, config), strict=True))
    rows = range(decoded.row_count)
    assert outcomes.keys() == set(rows), f"expected an outcome for each of {len(rows)} rows; got {sorted(outcomes)}"
    return [outcomes[row] for row in rows]


def _predict(model: Predictor, decoded: DecodedBatch, config: InferenceConfig) -> list[Outcome]:
    if not decoded.rows:
        return []
    answered = model.run_rows(decoded.images, batch_size=model.batch_size)
    finite = np.flatnonzero(np.isfinite(answered.outputs).all(axis=1))
    invalid = Outcome(
        error_code=ErrorCode.INVALID_OUTPUT.value, error_message="the model's output has NaN or infinite values",
    )
    outcomes = [invalid] * len(decoded.rows)
    geometries = [decoded.geometries[row] for row in finite]
    for row, values in zip(
        finite, model.model_task.rows(answered.outputs[finite], geometries=geometries, top_k=config.top_k), strict=True,
    ):
        outcomes[row] = Outcome(values)
    for row, cause in answered.failures.items():
        message = f"the model failed on this image: {cause[:_MAX_MESSAGE_CHARACTERS]}"
        outcomes[row] = Outcome(error_code=ErrorCode.INFERENCE_FAILED.value, error_message=message)
    return outcomes
