"""True boxes against predicted ones, and INT8 against float, in one pass over a partition: each image is decoded once."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sparkq.config import InferenceConfig
from sparkq.config.detection import BOX_CORNERS
from sparkq.images.preprocess import ImageGeometry
from sparkq.metrics.detection import ImageResult, JudgedBoxes
from sparkq.model_tasks import Detection
from sparkq.model_tasks.detection.agreement import matched_boxes
from sparkq.model_tasks.detection.detector import Boxes
from sparkq.model_tasks.detection.matching import IOU_THRESHOLDS, true_positives
from sparkq.worker.evaluate import answered_batches
from sparkq.worker.predictor import Predictor

__all__ = ["BOX_EVALUATION_FIELDS", "evaluate_boxes_partition", "image_result"]

_JUDGED = pa.list_(pa.struct([("label", pa.int32()), ("score", pa.float32()), ("right", pa.int32())]))

BOX_EVALUATION_FIELDS = pa.schema([
    ("origin", pa.string()), ("compared", pa.bool_()), ("truth", pa.list_(pa.int32())), ("found", _JUDGED),
    ("expected", _JUDGED), ("matched", pa.int32()),
])
"""The contribution of each image; ``right`` has a bit for each of ``IOU_THRESHOLDS``, the lowest first."""

_BITS = 1 << np.arange(len(IOU_THRESHOLDS))


def evaluate_boxes_partition(
    batches: Iterator[pa.RecordBatch], *, predictor: Callable[[], Predictor], float_predictor: Callable[[], Predictor] | None,
    image_column: str, origin_column: str, truth_column: str, config: InferenceConfig,
) -> Iterator[pa.RecordBatch]:
    """Compare every row of a partition with its true boxes, and with the float model where there is one.

    Parameters
    ----------
    batches : iterator of RecordBatch
        With the images, a string column `origin_column`, and a column `truth_column` of lists of structs with ``label`` and
        corners in pixels of the upright original.
    predictor, float_predictor : callable
        Give the worker's predictors, of task ``detection``; both take the same input size.
    image_column, config
        As for `sparkq.worker.predict.predict_partition`.

    Yields
    ------
    RecordBatch
        `BOX_EVALUATION_FIELDS`, one row an input row.
    """
    for answers in answered_batches(batches, predictor, float_predictor, image_column, config):
        kept = pa.Table.from_batches(answers.decoded.columns)
        origins, truths = kept.column(origin_column).to_pylist(), kept.column(truth_column).to_pylist()
        rows: list[dict[str, Any]] = [{"origin": origin, "compared": False} for origin in origins]
        geometries = dict(zip(answers.decoded.rows, answers.decoded.geometries, strict=True))
        for place, row in enumerate(answers.rows.tolist()):
            found = _boxes(predictor(), answers.outputs[place], geometries[row])
            rows[row] |= {"compared": True, "truth": [box["label"] for box in truths[row]], "found": _judged(found, truths[row])}
            if float_predictor is not None and answers.float_outputs is not None:
                expected = _boxes(float_predictor(), answers.float_outputs[place], geometries[row])
                rows[row] |= {"expected": _judged(expected, truths[row]), "matched": matched_boxes(expected, found)}
        yield pa.RecordBatch.from_pylist(rows, schema=BOX_EVALUATION_FIELDS)


def _boxes(predictor: Predictor, outputs: npt.NDArray[np.float32], geometry: ImageGeometry) -> Boxes:
    """Turn rows of boxes into arrays, in pixels of the original."""
    assert isinstance(predictor.model_task, Detection)
    boxes = predictor.model_task.detector.detect(outputs)
    return Boxes(boxes.labels, boxes.scores, geometry.to_original(boxes.corners))


def _judged(boxes: Boxes, truth: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    right = true_positives(
        boxes.labels, boxes.corners, np.array([box["label"] for box in truth], np.int64),
        np.array([[box[name] for name in BOX_CORNERS] for box in truth], np.float32).reshape(-1, 4),
    )
    return [
        {"label": label, "score": score, "right": bits}
        for label, score, bits in zip(boxes.labels.tolist(), boxes.scores.tolist(), (right @ _BITS).tolist(), strict=True)
    ]


def image_result(row: Mapping[str, Any]) -> ImageResult:
    """Read a compared row of `evaluate_boxes_partition`."""
    expected = None if row["expected"] is None else _of_list(row["expected"])
    return ImageResult(tuple(row["truth"]), _of_list(row["found"]), expected, row["matched"] or 0)


def _of_list(boxes: Sequence[Mapping[str, Any]]) -> JudgedBoxes:
    bits = np.array([box["right"] for box in boxes], np.int64)
    return JudgedBoxes(
        np.array([box["label"] for box in boxes], np.int64), np.array([box["score"] for box in boxes], np.float32),
        (bits[:, None] & _BITS[None, :]) > 0,
    )
