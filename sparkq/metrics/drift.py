"""How far the images of a run moved from those that the model was calibrated on. No Spark here.

Three figures, each of which finds what the others do not: the scores, the predicted labels, and how often activations
leave their calibrated range. An alarm takes both a large difference and one that chance does not explain.
"""
from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sparkq.artifact.calibration_profile import CalibrationProfile
from sparkq.artifact.manifest import Manifest
from sparkq.errors import InputError

__all__ = [
    "MIN_IMAGES", "Drift", "DriftSums", "SaturatedActivation", "judge_drift", "population_stability_index", "psi_limit",
    "required_profile",
]

MIN_IMAGES = 30
"""With fewer images, in calibration or in the run, nothing is said."""

_LARGE_PSI = 0.25
# One-sided 99.9 %: one false alarm in a thousand runs and figure.
_NORMAL_QUANTILE = 3.0902
# Resampled 14 000 times from images of one distribution (30 to 1000 images; ResNet-20 on CIFAR-10, MobileNet and SqueezeNet on
# photographs), no activation that passed the two lower bounds exceeded 2.8 standard errors; where drifted images
# were found by saturation at all, they reached 6 to 30.
_SATURATION_ERRORS = 4.0
_SATURATION_FACTOR = 1.3
_SATURATION_POINTS = 0.001


@dataclass(frozen=True)
class SaturatedActivation:
    """An activation that leaves its calibrated range more often than it did.

    Parameters
    ----------
    name : str
        As in the calibration profile.
    calibrated, now : float
        Share of its values at an end of the range, mean over images, 0 to 1: on calibration images, and in the run.
    """

    name: str
    calibrated: float
    now: float


@dataclass(frozen=True)
class Drift:
    """A sample of a run against the calibration images.

    Parameters
    ----------
    images : int
        Images of the sample that could be decoded.
    score_psi, label_psi : float, optional
        Population stability index of the scores of the best class, and of the best class itself; None where there are too
        few calibration images for two bins, and where the task gives neither.
    score_psi_limit, label_psi_limit : float, optional
        Above it the index is an alarm: 0.25, or what chance exceeds once in a thousand, whichever is larger.
    activations : int
        How many were compared.
    saturated : tuple of SaturatedActivation
        Those with an alarm, the largest increase first.
    recalibrate : bool, optional
        Whether there is any alarm; None with fewer than `MIN_IMAGES` images.
    reasons : tuple of str
        A sentence for each alarm, or why nothing can be said.
    """

    images: int
    score_psi: float | None
    label_psi: float | None
    score_psi_limit: float | None
    label_psi_limit: float | None
    activations: int
    saturated: tuple[SaturatedActivation, ...]
    recalibrate: bool | None
    reasons: tuple[str, ...]


def required_profile(manifest: Manifest) -> CalibrationProfile:
    """The calibration profile that drift is measured against.

    Raises
    ------
    InputError
        If the artifact has none, or one of too few images, or one with nothing to compare.
    """
    profile = manifest.calibration_profile
    if profile is None or profile.images < MIN_IMAGES:
        raise InputError(
            f"drift: expected an INT8 artifact made with at least {MIN_IMAGES} calibration images; artifact {manifest.name!r} "
            f"(recipe {manifest.quantization.recipe}) has seen {0 if profile is None else profile.images}.",
            hint="quantize it with more calibration images, or leave out --drift-sample.",
        )
    if not profile.activations and not profile.score_counts:
        raise InputError(
            f"drift: expected calibrated ranges, labels or scores to compare; artifact {manifest.name!r} (task {manifest.task}, "
            f"recipe {manifest.quantization.recipe}) has none.",
            hint="quantize it with recipe static, or leave out --drift-sample.",
        )
    return profile


@dataclass(frozen=True, eq=False)
class DriftSums:
    """The effect of images on a model, summed up; the sum of two is that of both sets of images.

    Parameters
    ----------
    images : int
        How many.
    score_counts : ndarray of int64 [bins]
        Images a score bin of the calibration profile.
    label_counts : ndarray of int64 [C]
        Images a predicted class.
    saturated, saturated_squares : ndarray of float64 [L]
        Of each activation, the sum over images of its share of values at an end of its range, and of that share's square.
    """

    images: int
    score_counts: npt.NDArray[np.int64]
    label_counts: npt.NDArray[np.int64]
    saturated: npt.NDArray[np.float64]
    saturated_squares: npt.NDArray[np.float64]

    @classmethod
    def zeros(cls, manifest: Manifest) -> DriftSums:
        """Make the sums over no images."""
        profile = required_profile(manifest)
        nothing = np.zeros(len(profile.activations))
        return cls(0, np.zeros(len(profile.score_counts), np.int64), np.zeros(manifest.classes, np.int64), nothing, nothing)

    def __add__(self, other: DriftSums) -> DriftSums:
        return DriftSums(
            self.images + other.images, self.score_counts + other.score_counts, self.label_counts + other.label_counts,
            self.saturated + other.saturated, self.saturated_squares + other.saturated_squares,
        )


def population_stability_index(expected: npt.NDArray[np.int64], found: npt.NDArray[np.int64]) -> float:
    """``sum (p - q) ln(p / q)`` over bins of two samples' counts.

    Siddiqi, "Credit Risk Scorecards" (2006), chapter on monitoring: 0.1 is slight, 0.25 a real shift. Half an image is added
    to each bin (Krichevsky and Trofimov 1981), so that an empty one does not make it infinite.
    """
    p = (expected + 0.5) / (expected.sum() + 0.5 * len(expected))
    q = (found + 0.5) / (found.sum() + 0.5 * len(found))
    return float(((p - q) * np.log(p / q)).sum())


def psi_limit(bins: int, calibrated: int, now: int) -> float:
    """A large index, or the 99.9 % quantile of the index of two samples of one distribution, whichever is larger.

    That index is about chi-squared with ``bins - 1`` degrees of freedom, times ``1 / calibrated + 1 / now`` (Yurdakul,
    "Statistical Properties of Population Stability Index", 2018). The quantile is that of Wilson and Hilferty (1931).
    """
    degrees = bins - 1
    quantile = degrees * (1 - 2 / (9 * degrees) + _NORMAL_QUANTILE * math.sqrt(2 / (9 * degrees)))**3
    return max(_LARGE_PSI, quantile * (1 / calibrated + 1 / now))


def judge_drift(sums: DriftSums, manifest: Manifest) -> Drift:
    """Compare a run with calibration. On the driver.

    Parameters
    ----------
    sums : DriftSums
        Of all partitions.
    manifest : Manifest
        With a calibration profile.

    Raises
    ------
    InputError
        If it has none, or one of fewer than `MIN_IMAGES` images.
    """
    profile = required_profile(manifest)
    if sums.images < MIN_IMAGES:
        reason = f"too few images to tell: {sums.images}, and {MIN_IMAGES} are needed"
        return Drift(sums.images, None, None, None, None, len(profile.activations), (), None, (reason,))
    bins = profile.label_bins(manifest.classes)
    labels = _binned(profile.label_histogram(manifest.classes), bins), _binned(sums.label_counts, bins)
    score_psi, score_limit = _shift(np.asarray(profile.score_counts), sums.score_counts)
    label_psi, label_limit = _shift(*labels)
    saturated = _more_saturated(profile, sums)
    reasons = [
        f"the distribution of {what} moved: PSI {psi:.2f}, limit {limit:.2f}"
        for what, psi, limit in (("scores", score_psi, score_limit), ("labels", label_psi, label_limit))
        if psi is not None and limit is not None and psi > limit
    ]
    if saturated:
        worst = saturated[0]
        reasons.append(
            f"{len(saturated)} of {len(profile.activations)} activations leave their calibrated range more often, {worst.name} "
            f"most: {100 * worst.calibrated:.2f} % of its values in calibration, now {100 * worst.now:.2f} %"
        )
    return Drift(
        sums.images, score_psi, label_psi, score_limit, label_limit, len(profile.activations), saturated, bool(reasons),
        tuple(reasons),
    )


def _binned(counts: npt.NDArray[np.int64], bins: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.bincount(bins, weights=counts).astype(np.int64)


def _shift(calibrated: npt.NDArray[np.int64], now: npt.NDArray[np.int64]) -> tuple[float | None, float | None]:
    """Index and limit; neither, where all calibration images fall into one bin."""
    if len(calibrated) < 2:
        return None, None
    limit = psi_limit(len(calibrated), int(calibrated.sum()), int(now.sum()))
    return population_stability_index(calibrated, now), limit


def _more_saturated(profile: CalibrationProfile, sums: DriftSums) -> tuple[SaturatedActivation, ...]:
    """Activations whose share at the ends of the range grew clearly, and by more than chance explains."""
    calibrated = np.array([activation.saturated for activation in profile.activations])
    deviation = np.array([activation.deviation for activation in profile.activations])
    now = sums.saturated / sums.images
    # The larger of the two variances: of few images, the tail may be missing in one of the samples.
    variance = np.maximum(deviation**2, sums.saturated_squares / sums.images - now**2)
    error = np.sqrt(variance * (1 / profile.images + 1 / sums.images))
    alarm = (
        (now - calibrated > _SATURATION_ERRORS * error) & (now - calibrated > _SATURATION_POINTS)
        & (now > _SATURATION_FACTOR * calibrated)
    )
    found = [
        SaturatedActivation(profile.activations[index].name, float(calibrated[index]), float(now[index]))
        for index in np.flatnonzero(alarm)
    ]
    return tuple(sorted(found, key=lambda activation: activation.calibrated - activation.now))
