"""Truth against prediction, and INT8 against float, in one pass over a partition: each image is decoded once."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sparkq.config import InferenceConfig
from sparkq.model_tasks import cosine_similarity
from sparkq.model_tasks.ranking import ranked
from sparkq.worker.decode_batches import DecodedBatch, decoded_batches
from sparkq.worker.predictor import Predictor

__all__ = ["COMPARISON_FIELDS", "EVALUATION_FIELDS", "answered_batches", "compare_partition", "evaluate_partition"]

_TOP = 5

EVALUATION_FIELDS = pa.schema([
    ("compared", pa.bool_()),
    ("top1", pa.bool_()),
    ("top5", pa.bool_()),
    ("float_top1", pa.bool_()),
    ("float_top5", pa.bool_()),
    ("agrees", pa.bool_()),
    ("signal", pa.float64()),
    ("noise", pa.float64()),
    ("label", pa.int32()),
    ("float_label", pa.int32()),
    ("truth", pa.int32()),
])
"""The contribution of each image: ``signal`` and ``noise`` are sums of squares over its outputs, ``label`` is the first one."""

COMPARISON_FIELDS = pa.schema([
    ("compared", pa.bool_()), ("cosine", pa.float64()), ("signal", pa.float64()), ("noise", pa.float64()),
])
"""The same of an embedding, which has no labels."""


def evaluate_partition(
    batches: Iterator[pa.RecordBatch], *, predictor: Callable[[], Predictor], float_predictor: Callable[[], Predictor] | None,
    image_column: str, truth_column: str, config: InferenceConfig,
) -> Iterator[pa.RecordBatch]:
    """Compare every row of a partition with its label, and with the float model where there is one.

    Parameters
    ----------
    batches : iterator of RecordBatch
        With the images and an integer column `truth_column`.
    predictor, float_predictor : callable
        Give the worker's predictors; both take the same input size.
    truth_column : str
        Its name.
    image_column, config
        As for `sparkq.worker.predict.predict_partition`.

    Yields
    ------
    RecordBatch
        `EVALUATION_FIELDS`, one row an input row.
    """
    for answers in answered_batches(batches, predictor, float_predictor, image_column, config):
        truth = np.concatenate([
            part.column(truth_column).to_numpy(zero_copy_only=False).astype(np.int64) for part in answers.decoded.columns
        ])
        compared = _compare(answers.outputs, answers.float_outputs, truth[answers.rows])
        yield _spread(compared, answers, EVALUATION_FIELDS)


def compare_partition(
    batches: Iterator[pa.RecordBatch], *, predictor: Callable[[], Predictor], float_predictor: Callable[[], Predictor],
    image_column: str, config: InferenceConfig,
) -> Iterator[pa.RecordBatch]:
    """Compare every row's embedding with the float model's; parameters as for `evaluate_partition`.

    Yields
    ------
    RecordBatch
        `COMPARISON_FIELDS`, one row an input row.
    """
    for answers in answered_batches(batches, predictor, float_predictor, image_column, config):
        assert answers.float_outputs is not None
        columns = {
            "cosine": cosine_similarity(answers.float_outputs, answers.outputs),
            **_powers(answers.outputs, answers.float_outputs),
        }
        yield _spread(columns, answers, COMPARISON_FIELDS)


@dataclass(frozen=True)
class Answers:
    """Outputs of the rows of a batch that both models answered."""

    decoded: DecodedBatch
    rows: npt.NDArray[np.int64]
    outputs: npt.NDArray[np.float32]
    float_outputs: npt.NDArray[np.float32] | None


def answered_batches(
    batches: Iterator[pa.RecordBatch], predictor: Callable[[], Predictor], float_predictor: Callable[[], Predictor] | None,
    image_column: str, config: InferenceConfig,
) -> Iterator[Answers]:
    """Both models' outputs, batch by batch; parameters as for `evaluate_partition`."""
    for model, decoded in decoded_batches(predictor, batches, image_column=image_column, config=config):
        reference = None if float_predictor is None else float_predictor()
        outputs = model.run_rows(decoded.images, batch_size=model.batch_size).outputs
        float_outputs = None if reference is None else reference.run_rows(decoded.images, batch_size=model.batch_size).outputs
        answered = np.isfinite(outputs).all(axis=1)
        if float_outputs is not None:
            answered &= np.isfinite(float_outputs).all(axis=1)
            float_outputs = float_outputs[answered]
        yield Answers(decoded, np.asarray(decoded.rows, np.int64)[answered], outputs[answered], float_outputs)


def _compare(
    outputs: npt.NDArray[np.float32], float_outputs: npt.NDArray[np.float32] | None, truth: npt.NDArray[np.int64],
) -> dict[str, npt.NDArray[np.generic]]:
    order = ranked(outputs, _TOP)
    columns: dict[str, npt.NDArray[np.generic]] = {
        "top1": order[:, 0] == truth,
        "top5": (order == truth[:, np.newaxis]).any(axis=1),
        "label": order[:, 0],
        "truth": truth,
    }
    if float_outputs is not None:
        float_order = ranked(float_outputs, _TOP)
        columns |= {
            "float_top1": float_order[:, 0] == truth,
            "float_top5": (float_order == truth[:, np.newaxis]).any(axis=1),
            "agrees": float_order[:, 0] == order[:, 0],
            "float_label": float_order[:, 0],
            **_powers(outputs, float_outputs),
        }
    return columns


def _powers(
    outputs: npt.NDArray[np.float32], float_outputs: npt.NDArray[np.float32],
) -> dict[str, npt.NDArray[np.generic]]:
    wide = float_outputs.astype(np.float64)
    return {"signal": (wide**2).sum(axis=1), "noise": ((wide - outputs) ** 2).sum(axis=1)}


def _spread(columns: dict[str, npt.NDArray[np.generic]], answers: Answers, fields: pa.Schema) -> pa.RecordBatch:
    """Columns of the compared rows as columns of all rows; null where there is nothing to compare."""
    total = answers.decoded.row_count
    compared = np.zeros(total, bool)
    compared[answers.rows] = True
    arrays = [pa.array(compared)]
    for field in list(fields)[1:]:
        values = columns.get(field.name)
        full = np.zeros(total, field.type.to_pandas_dtype())
        if values is not None:
            full[answers.rows] = values
        arrays.append(pa.array(full, field.type, mask=~compared if values is not None else np.ones(total, bool)))
    return pa.RecordBatch.from_arrays(arrays, schema=fields)
