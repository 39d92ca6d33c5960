"""Boxes against true boxes, and INT8 against float, image by image and summed up."""
from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sparkq.metrics.average_precision import mean_average_precision
from sparkq.model_tasks.detection.agreement import BoxAgreement

__all__ = ["DetectionEvaluation", "ImageResult", "JudgedBoxes", "summarize"]

_JACKKNIFE_GROUPS = 20


@dataclass(frozen=True, eq=False)
class JudgedBoxes:
    """One model's B boxes of one image.

    Parameters
    ----------
    labels, scores : ndarray
        int64 [B] and float32 [B], best first.
    right : ndarray of bool [B, H]
        As `sparkq.model_tasks.detection.matching.true_positives` has it.
    """

    labels: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]
    right: npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class ImageResult:
    """The result of one image, which an evaluation sums up.

    Parameters
    ----------
    truth : tuple of int
        Classes of its true boxes.
    found, expected : JudgedBoxes
        Of the artifact; of the float model, where there is one.
    matched : int
        How many boxes of both can be paired off.
    """

    truth: tuple[int, ...]
    found: JudgedBoxes
    expected: JudgedBoxes | None = None
    matched: int = 0


@dataclass(frozen=True)
class DetectionEvaluation:
    """Mean average precision and agreement in percent (0 to 100), the drop in points (float minus INT8).

    Parameters
    ----------
    images : int
        Images that were compared.
    errors : int
        Labelled images that could not be decoded, or that a model gave no finite answer to; in no other figure.
    map50 : float
        Mean over classes of the average precision, boxes being right that overlap a true one by a half.
    map50_95 : float
        Mean of that at overlaps of 0.50, 0.55 ... 0.95.
    float_map50, float_map50_95, accuracy_drop : float, optional
        The same of the float model; the drop in ``map50``.
    standard_error : float, optional
        Points; of the drop (jackknife over groups of images: Efron and Tibshirani 1993, "An Introduction to the Bootstrap",
        section 11.5).
    agreement : float, optional
        F1 of the boxes against the float model's; None where neither has any.
    boxes : int, optional
        How many both have together.
    """

    images: int
    errors: int
    map50: float
    map50_95: float
    float_map50: float | None = None
    float_map50_95: float | None = None
    accuracy_drop: float | None = None
    standard_error: float | None = None
    agreement: float | None = None
    boxes: int | None = None


def summarize(results: Sequence[ImageResult], errors: int) -> DetectionEvaluation:
    """Figures of all images, at least one of which has a true box; only the standard error depends on their order."""
    found = 100 * _mean_precision([result.found for result in results], results)
    if results[0].expected is None:
        return DetectionEvaluation(len(results), errors, float(found[0]), float(found.mean()))
    reference = 100 * _mean_precision(_expected(results), results)
    both = zip(results, _expected(results), strict=True)
    boxes = [len(result.found.labels) + len(one.labels) for result, one in both]
    agreement = BoxAgreement([result.matched for result in results], boxes).f1
    return DetectionEvaluation(
        len(results), errors, float(found[0]), float(found.mean()),
        float_map50=float(reference[0]),
        float_map50_95=float(reference.mean()),
        accuracy_drop=float(reference[0] - found[0]),
        standard_error=_drop_error(results),
        agreement=None if agreement is None else 100 * agreement,
        boxes=sum(boxes),
    )


def _expected(results: Sequence[ImageResult]) -> list[JudgedBoxes]:
    return [result.expected for result in results if result.expected is not None]


def _mean_precision(
    boxes: Sequence[JudgedBoxes], results: Sequence[ImageResult], thresholds: int | None = None,
) -> npt.NDArray[np.float64]:
    """At the first `thresholds` overlaps; None: at all."""
    truths = Counter(label for result in results for label in result.truth)
    return mean_average_precision(
        np.concatenate([one.labels for one in boxes]), np.concatenate([one.scores for one in boxes]),
        np.concatenate([one.right[:, :thresholds] for one in boxes]), dict(truths),
    )


def _drop_error(results: Sequence[ImageResult]) -> float | None:
    groups = min(_JACKKNIFE_GROUPS, len(results))
    drops = []
    for group in range(groups):
        rest = [result for index, result in enumerate(results) if index % groups != group]
        if not any(result.truth for result in rest):
            return None
        reference, found = _expected(rest), [result.found for result in rest]
        drops.append(100 * float(_mean_precision(reference, rest, 1)[0] - _mean_precision(found, rest, 1)[0]))
    return math.sqrt((groups - 1) * float(np.var(drops))) if groups > 1 else None
