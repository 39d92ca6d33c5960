"""The gate's target, and its attempts to reach it."""
from __future__ import annotations

from dataclasses import dataclass

from sparkq.errors import ConfigError
from sparkq.quantization.gate.measured import Measured

__all__ = ["GateAttempt", "GateTarget"]


@dataclass(frozen=True)
class GateTarget:
    """The least that an artifact must reach.

    Parameters
    ----------
    max_accuracy_drop : float
        Points of top-1, or of a detection's mean average precision, that it may lose; counts where there are labels.
    min_agreement : float
        Share (0 to 1) of images with the float model's first label, or F1 of a detection's boxes and the float model's;
        counts where there are no labels.
    min_cosine : float
        Mean cosine similarity of an embedding (-1 to 1) and the float model's; counts with task ``embedding``. 0.99 is noise of
        14 % of the vector's length, at right angles to it. Random noise of that size took 0.4 points of accuracy from ten
        nearest neighbours among 2000 images (ResNet-20 on cifar10), 0.98 took 0.6: what half a point of top-1 is to labels.
    task : str
        What the artifact is for.
    """

    max_accuracy_drop: float = 0.5
    min_agreement: float = 0.98
    min_cosine: float = 0.99
    task: str = "classification"

    def __post_init__(self) -> None:
        if not 0 <= self.min_agreement <= 1:
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
        """By how much it is surpassed, in the unit of ``standard_error``; negative below it."""
        if measured.mean_cosine is not None:
            return measured.mean_cosine - self.min_cosine
        if measured.accuracy_drop is not None:
            return self.max_accuracy_drop - measured.accuracy_drop
        return (measured.agreement or 0.0) - 100 * self.min_agreement

    def __str__(self) -> str:
        if self.task == "embedding":
            return f"a mean cosine similarity of at least {self.min_cosine:g} with the float model's embeddings"
        if self.task == "detection":
            return (
                f"at most {self.max_accuracy_drop:g} points of mAP lost (without labels: boxes with an F1 of "
                f"{100 * self.min_agreement:g} % against the float model's)"
            )
        return f"at most {self.max_accuracy_drop:g} points lost (without labels: {100 * self.min_agreement:g} % agreement)"


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
        Size of the file.
    images_per_second : float
        Of the engine alone, on this machine, in batches of 16; median of five runs.
    """

    recipe: str
    measured: Measured
    int8_macs_percent: float
    artifact_bytes: int
    images_per_second: float
