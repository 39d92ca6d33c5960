"""The calibration profile: a record of what a quantized model did on its calibration images, to compare later inputs with."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["ActivationProfile", "CalibrationProfile", "bin_limit"]

_MAX_BINS = 10
_IMAGES_A_BIN = 5
_SCORE_DECIMALS = 5


def bin_limit(images: int) -> int:
    """Into how many bins a distribution of so many images is cut: ten, but five images expected in each (Cochran 1954)."""
    return max(1, min(_MAX_BINS, images // _IMAGES_A_BIN))


@dataclass(frozen=True)
class ActivationProfile:
    """One quantized activation.

    Parameters
    ----------
    name : str
        Of the layer, or of the operator with its number.
    low, high : float
        Calibrated range: what its smallest and its largest level stand for.
    saturated : float
        Share of its values that lie at an end of the range, mean over the calibration images, 0 to 1. A lowest level that
        stands for zero is no end: a ReLU puts values there.
    deviation : float
        Standard deviation of that share from image to image.
    """

    name: str
    low: float
    high: float
    saturated: float
    deviation: float


@dataclass(frozen=True)
class CalibrationProfile:
    """The INT8 model on calibration images.

    Parameters
    ----------
    images : int
        How many were run.
    activations : tuple of ActivationProfile
        In the order in which they are computed; none where ranges are taken at run time.
    score_edges : tuple of float
        Inner edges of the score bins: quantiles of the calibration scores.
    score_counts : tuple of int
        Images a bin, one more than edges; none where the task gives no scores.
    label_counts : tuple of (int, int)
        Predicted class and how many images; classes without images are left out, and all where the task gives no labels.
    """

    images: int
    activations: tuple[ActivationProfile, ...]
    score_edges: tuple[float, ...]
    score_counts: tuple[int, ...]
    label_counts: tuple[tuple[int, int], ...]

    @classmethod
    def of(
        cls, labels: npt.NDArray[np.int64], scores: npt.NDArray[np.float32], activations: Sequence[ActivationProfile] = (),
    ) -> CalibrationProfile:
        """Sum up what was predicted: `labels` and `scores` of the best class, [N]."""
        bins = bin_limit(len(scores))
        # Scores beside 1 differ in digits that the next CPU rounds otherwise.
        quantiles = np.unique(np.quantile(scores, np.arange(1, bins) / bins).round(_SCORE_DECIMALS))
        edges = tuple(quantiles[quantiles < 1].tolist())
        classes, counts = np.unique(labels, return_counts=True)
        return cls(
            len(scores), tuple(activations), edges, tuple(score_histogram(scores, edges).tolist()),
            tuple(zip(classes.tolist(), counts.tolist(), strict=True)),
        )

    @classmethod
    def of_activations(cls, images: int, activations: Sequence[ActivationProfile]) -> CalibrationProfile:
        """Make the profile of a model task without labels and scores."""
        return cls(images, tuple(activations), (), (), ())

    def score_histogram(self, scores: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
        """Images a score bin, int64 [bins]."""
        return score_histogram(scores, self.score_edges)

    def label_histogram(self, classes: int) -> npt.NDArray[np.int64]:
        """Images a class, int64 [classes]."""
        counts = np.zeros(classes, np.int64)
        for label, count in self.label_counts:
            counts[label] = count
        return counts

    def label_bins(self, classes: int) -> npt.NDArray[np.int64]:
        """Bin of each class, int64 [classes].

        Neighbours in the order of indices share a bin, so that each holds about the same part of the calibration images; a
        class with many of them shares it with none that was predicted. Classes are not grouped by how often they were seen:
        with fewer images than classes most classes of new images were never seen, and that would pass for drift.
        """
        counts = self.label_histogram(classes)
        middle = (np.cumsum(counts) - counts / 2) / max(self.images, 1)
        limit = bin_limit(self.images)
        bins = np.minimum((middle * limit).astype(np.int64), limit - 1)
        return _merged(bins, counts)

    def to_mapping(self) -> dict[str, Any]:
        """Plain JSON types."""
        mapping = asdict(self)
        mapping["label_counts"] = {str(label): count for label, count in self.label_counts}
        return mapping

    @classmethod
    def from_mapping(cls, mapping: dict[str, Any]) -> CalibrationProfile:
        """Read what `to_mapping` gave.

        Raises
        ------
        KeyError, TypeError, ValueError
            If it is something else.
        """
        profile = cls(
            images=int(mapping["images"]),
            activations=tuple(ActivationProfile(**activation) for activation in mapping["activations"]),
            score_edges=tuple(float(edge) for edge in mapping["score_edges"]),
            score_counts=tuple(int(count) for count in mapping["score_counts"]),
            label_counts=tuple((int(label), int(count)) for label, count in mapping["label_counts"].items()),
        )
        if profile.images < 1:
            raise ValueError("calibration profile: at least one image")
        if not (profile.score_edges or profile.score_counts or profile.label_counts):
            return profile
        labelled = sum(count for _, count in profile.label_counts)
        if len(profile.score_counts) != len(profile.score_edges) + 1:
            raise ValueError("calibration profile: one score count more than edges")
        if not sum(profile.score_counts) == labelled == profile.images:
            raise ValueError("calibration profile: counts that do not sum to its images")
        return profile


def score_histogram(scores: npt.NDArray[np.float32], edges: tuple[float, ...]) -> npt.NDArray[np.int64]:
    """Images a bin; a score on an edge belongs to the bin above."""
    bins = np.searchsorted(np.asarray(edges, np.float64), scores, side="right")
    return np.bincount(bins, minlength=len(edges) + 1)


def _merged(bins: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Number bins anew so that each holds enough images: one with too few goes to the one before."""
    numbers, mass = np.zeros_like(bins), 0
    current = -1
    for bin_number in np.unique(bins):
        inside = bins == bin_number
        if current < 0 or mass >= _IMAGES_A_BIN and counts[inside].sum() >= _IMAGES_A_BIN:
            current, mass = current + 1, 0
        numbers[inside] = current
        mass += int(counts[inside].sum())
    return numbers
