"""The gate's target, and its attempts to reach it."""
from __future__ import annotations

from dataclasses import dataclass

from sparkq.errors import ConfigError
from sparkq.quantization.gate.measured import Measured

__all__ = ["MOST_IMAGES", "GateAttempt", "GateTarget"]

MOST_IMAGES = 500
"""Images that are held out at most to measure on."""
_MIN_F1 = 0.98


@dataclass(frozen=True)
class GateTarget:
    """The least that an artifact must reach.

    Parameters
    ----------
    max_accuracy_drop : float
        Points of top-1, or of a detection's mean average precision, that it may lose: measured where there are labels; of a
        classification without labels, expected (`sparkq.quantization.gate.expected_loss`).
    min_agreement : float, optional
        Share (0 to 1) of images with the float model's first label, which then decides in place of the expected loss; F1 of a
        detection's boxes and the float model's, by default 0.98. Counts where there are no labels.
    min_cosine : float
        Mean cosine similarity of an embedding (-1 to 1) and the float model's; counts with task ``embedding``. 0.99 is noise of
        14 % of the vector's length, at right angles to it. Random noise of that size took 0.4 points of accuracy from ten
        nearest neighbours among 2000 images (ResNet-20 on cifar10), 0.98 took 0.6: what half a point of top-1 is to labels.
    task : str
        What the artifact is for.
    """

    max_accuracy_drop: float = 0.5
    min_agreement: float | None = None
    min_cosine: float = 0.99
    task: str = "classification"

    def __post_init__(self) -> None:
        if self.min_agreement is not None and not 0 <= self.min_agreement <= 1:
            raise ConfigError(f"min_agreement: expected a share from 0 to 1; got {self.min_agreement}.")
        if not self.max_accuracy_drop >= 0:
            raise ConfigError(f"max_accuracy_drop: expected points of at least 0; got {self.max_accuracy_drop}.")

        if not -1 <= self.min_cosine <= 1:
            raise ConfigError(f"min_cosine: expected a cosine from -1 to 1; got {self.min_cosine}.")

    def holds(self, measured: Measured) -> bool:
        """Tell whether the target is reached."""
        # Shares of counts: the tenth digit is binary noise.
        return self.margin(measured) >= -1e-9

    def margin(self, measured: Measured) -> float:
        """By how much it is surpassed, in the unit of ``standard_error``; negative below it.

        An expected loss must keep below the target with 95 % confidence if it was measured on as many images as are drawn at
        most; fewer may not be enough to show that of any model, so that the estimate itself decides.
        """
        if self._by_expected_loss(measured) and measured.images >= MOST_IMAGES:
            return self.max_accuracy_drop - (measured.expected_loss_at_most or 0.0)
        lost, allowed = self.loss(measured)
        return allowed - lost

    def is_sure(self, measured: Measured) -> bool:
        """Tell whether another set of so many images would hardly say the contrary of a target that is reached."""
        if self._by_expected_loss(measured):
            return (measured.expected_loss_at_most or 0.0) <= self.max_accuracy_drop
        return measured.standard_error is None or self.margin(measured) >= measured.standard_error

    def loss(self, measured: Measured) -> tuple[float, float]:
        """What is lost and what may be: cosine, points of accuracy, or percent of agreement short of all of it."""
        if measured.mean_cosine is not None:
            return 1 - measured.mean_cosine, 1 - self.min_cosine
        if measured.accuracy_drop is not None:
            return measured.accuracy_drop, self.max_accuracy_drop
        if self._by_expected_loss(measured):
            return measured.expected_loss or 0.0, self.max_accuracy_drop
        return 100 - (measured.agreement or 0.0), 100 - 100 * self._agreement

    def _by_expected_loss(self, measured: Measured) -> bool:
        return measured.expected_loss is not None and self.min_agreement is None

    @property
    def _agreement(self) -> float:
        return _MIN_F1 if self.min_agreement is None else self.min_agreement

    def __str__(self) -> str:
        if self.task == "embedding":
            return f"a mean cosine similarity of at least {self.min_cosine:g} with the float model's embeddings"
        if self.task == "detection":
            return (
                f"at most {self.max_accuracy_drop:g} points of mAP lost (without labels: boxes with an F1 of "
                f"{100 * self._agreement:g} % against the float model's)"
            )
        lost = f"at most {self.max_accuracy_drop:g} points of accuracy lost"
        if self.min_agreement is None:
            return f"{lost}, as labels or else the float model's scores tell"
        return f"{lost} (without labels: {100 * self.min_agreement:g} % agreement)"


@dataclass(frozen=True)
class GateAttempt:
    """One row of the gate's table.

    Parameters
    ----------
    recipe : str
        What was tried.
    measured : Measured
        How close it came.
    int8_macs_percent : float
        Share of multiply-accumulates in INT8.
    artifact_bytes : int
        Size of the file; of an attempt that was not written, of its payload.
    images_per_second : float, optional
        Of the engine alone, on this machine, in batches of 16; median of five runs. None of an attempt that was not written.
    """

    recipe: str
    measured: Measured
    int8_macs_percent: float
    artifact_bytes: int
    images_per_second: float | None = None
