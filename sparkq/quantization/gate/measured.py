"""Measured accuracy of an artifact, with its standard error."""
from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Measured", "drop_error"]


@dataclass(frozen=True)
class Measured:
    """INT8 against float on images that it was not calibrated on.

    Parameters
    ----------
    images : int
        How many.
    agreement : float, optional
        Percent: of a classification, images with the same first label; of a detection, F1 of the boxes.
    sqnr_db : float, optional
        Of all outputs; None where nothing differs.
    top1, accuracy_drop : float, optional
        Percent and points, where there are labels.
    standard_error : float, optional
        Of the accuracy drop where there are labels, else of the expected loss or, of a detection, of F1, in points; of the mean
        cosine.
    expected_loss, expected_loss_at_most : float, optional
        Of a classification without labels: points of accuracy that are expected to be lost, and the bound that they keep with
        95 % confidence.
    views : int, optional
        Of a classification without labels, in how many views each image was seen.
    boxes : int, optional
        Of a detection, how many boxes both models found together.
    map50 : float, optional
        Of a detection, mean average precision at an overlap of a half, in percent, where there are labelled boxes.
    mean_cosine, least_cosine : float, optional
        Of an embedding, cosine similarity of both vectors of an image: mean and least over images.
    """

    images: int
    agreement: float | None
    sqnr_db: float | None
    top1: float | None = None
    accuracy_drop: float | None = None
    standard_error: float | None = None
    expected_loss: float | None = None
    expected_loss_at_most: float | None = None
    views: int | None = None
    boxes: int | None = None
    map50: float | None = None
    mean_cosine: float | None = None
    least_cosine: float | None = None


def drop_error(accuracy_drop: float, changed: int, images: int) -> float:
    """Standard error, in points, of a drop in accuracy measured on the same images.

    Parameters
    ----------
    accuracy_drop : float
        Points, float minus INT8.
    changed : int
        Images on which exactly one of the two was right: only they carry information.
    images : int
        All images.

    Returns
    -------
    float
        Of matched proportions, half an image added to each side (Agresti & Min 2005, "Simple Improved Confidence Intervals
        for Comparing Matched Proportions", section 3).
    """
    difference, total = accuracy_drop / 100 * images, images + 2
    return 100 * math.sqrt(max(changed + 1 - difference**2 / total, 0)) / total
