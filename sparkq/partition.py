"""Record batches in, record batches out: what a task does with its partition. No Spark here.

Every input row leaves in the same record batch as its prediction, in the same order, exactly once.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sparkq.config import InferenceConfig, PreprocessConfig
from sparkq.errors import ImageError
from sparkq.prediction_columns import Outcome, prediction_columns
from sparkq.predictor import Predictor
from sparkq.preprocess import preprocess_content

__all__ = ["DecodedBatch", "batches_for", "decode_column", "predict_partition", "rebatch", "without_content"]

_MAX_MESSAGE_CHARACTERS = 300
# A binary column of Arrow holds no more; joined beyond it, Arrow makes several of one, or fails.
_MAX_JOINED_BYTES = 2**31 - 1


@dataclass(frozen=True)
class DecodedBatch:
    """Pixels of the rows that could be decoded, and why the others could not.

    Parameters
    ----------
    images : ndarray of uint8 [M, H, W, 3]
        Only the rows that decoded, in order.
    rows : list of int
        Row of each image, length M.
    errors : dict of int to ImageError
        Row to error, for all others.
    """

    images: npt.NDArray[np.uint8]
    rows: list[int]
    errors: dict[int, ImageError]


def decode_column(
    content: pa.Array, preprocess: PreprocessConfig, *, max_image_pixels: int,
) -> DecodedBatch:
    """Decode, resize and crop a binary or image-struct column into one preallocated batch."""
    images = np.empty((len(content), *preprocess.input_size, 3), np.uint8)
    rows: list[int] = []
    errors: dict[int, ImageError] = {}
    for row, scalar in enumerate(content):
        try:
            value = _value(scalar)
            images[len(rows)] = preprocess_content(value, preprocess, max_image_pixels=max_image_pixels)
            rows.append(row)
        except ImageError as error:
            errors[row] = error
    return DecodedBatch(images[: len(rows)], rows, errors)


def _value(scalar: pa.Scalar) -> memoryview | dict[str, Any] | None:
    if not scalar.is_valid:
        return None
    if pa.types.is_struct(scalar.type):
        return {name: scalar[name].as_py() for name in ("height", "width", "nChannels", "mode", "data")}
    # The buffer is a view into the record batch: no copy of the encoded image.
    return memoryview(scalar.as_buffer())


def rebatch(batches: Iterator[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of exactly `rows`, but for the last: the model sees full batches whatever Spark sends.

    A batch of more than 2 GiB comes in the parts that Spark sent.
    """
    pending: list[pa.RecordBatch] = []
    waiting = 0
    for batch in batches:
        start = 0
        while batch.num_rows - start + waiting >= rows:
            pending.append(batch.slice(start, rows - waiting))
            start += rows - waiting
            yield from _joined(pending)
            pending, waiting = [], 0
        if start < batch.num_rows:
            pending.append(batch.slice(start))
            waiting += batch.num_rows - start
    if pending:
        yield from _joined(pending)


def batches_for(
    predictor: Callable[[], Predictor], batches: Iterator[pa.RecordBatch],
) -> Iterator[tuple[Predictor, pa.RecordBatch]]:
    """The worker's predictor with each batch of its size; a partition without rows loads none."""
    filled = (batch for batch in batches if batch.num_rows)
    for first in filled:
        model = predictor()
        for batch in rebatch(chain([first], filled), model.batch_size):
            yield model, batch


def _joined(batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    if len(batches) == 1 or sum(batch.nbytes for batch in batches) > _MAX_JOINED_BYTES:
        return batches
    joined: list[pa.RecordBatch] = pa.Table.from_batches(batches).combine_chunks().to_batches()
    return joined


def without_content(batch: pa.RecordBatch, content_column: str) -> tuple[list[pa.Array], list[str]]:
    """Columns and names of a batch without its image bytes; an image struct keeps its other fields."""
    arrays: list[pa.Array] = []
    names: list[str] = []
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        if name == content_column:
            if not pa.types.is_struct(array.type):
                continue
            fields = [field for field in array.type if field.name != "data"]
            array = pa.StructArray.from_arrays(
                [array.field(field.name) for field in fields], fields=fields, mask=array.is_null(),
            )
        arrays.append(array)
        names.append(name)
    return arrays, names


def predict_partition(
    batches: Iterator[pa.RecordBatch], *, predictor: Callable[[], Predictor], content_column: str, config: InferenceConfig,
) -> Iterator[pa.RecordBatch]:
    """Predict every row of a partition.

    Parameters
    ----------
    batches : iterator of RecordBatch
        With a binary or image-struct column `content_column`, and any others.
    predictor : callable
        Gives the worker's predictor; called when the first batch arrives, so an empty partition loads no model.
    content_column : str
        Its image bytes are dropped; all other columns are kept.
    config : InferenceConfig
        ``top_k``, limits.

    Yields
    ------
    RecordBatch
        The input's columns and those of `sparkq.prediction_columns`, one row an input row, in order.
    """
    for model, batch in batches_for(predictor, batches):
        decoded = decode_column(
            batch.column(content_column), model.manifest.preprocess, max_image_pixels=config.max_image_pixels,
        )
        outcomes = _outcomes(model, decoded, batch.num_rows, config)
        arrays, names = without_content(batch, content_column)
        columns = prediction_columns(outcomes, model.manifest, engine=model.engine.name)
        yield pa.RecordBatch.from_arrays([*arrays, *columns.values()], names=[*names, *columns])


def _outcomes(model: Predictor, decoded: DecodedBatch, rows: int, config: InferenceConfig) -> list[Outcome]:
    outcomes: list[Outcome | None] = [None] * rows
    for row, error in decoded.errors.items():
        outcomes[row] = Outcome(error_code=error.code, error_message=str(error)[:_MAX_MESSAGE_CHARACTERS])
    for row, outcome in zip(decoded.rows, _predict(model, decoded.images, config), strict=True):
        outcomes[row] = outcome
    return [outcome for outcome in outcomes if outcome is not None]


def _predict(model: Predictor, images: npt.NDArray[np.uint8], config: InferenceConfig) -> list[Outcome]:
    if len(images) == 0:
        return []
    answered = model.run_rows(images, batch_size=model.batch_size)
    prediction = model.rank(answered.outputs, top_k=min(config.top_k, model.manifest.classes))
    finite = np.all(np.isfinite(answered.outputs), axis=1).tolist()
    outcomes = [
        Outcome(labels=prediction.labels[row], scores=prediction.scores[row]) if finite[row]
        else Outcome(error_code="invalid_output", error_message="the model's output has NaN or infinite values")
        for row in range(len(images))
    ]
    for row, cause in answered.failures.items():
        message = f"the model failed on this image: {cause[:_MAX_MESSAGE_CHARACTERS]}"
        outcomes[row] = Outcome(error_code="inference_failed", error_message=message)
    return outcomes
