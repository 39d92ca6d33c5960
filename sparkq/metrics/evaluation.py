"""The figures of an evaluation: accuracy, agreement with float, noise."""
from __future__ import annotations

from dataclasses import dataclass

__all__ = ["EmbeddingComparison", "Evaluation"]


@dataclass(frozen=True)
class Evaluation:
    """Accuracies and agreement in percent (0 to 100), the drop in points (float minus INT8).

    Parameters
    ----------
    images : int
        Images that were compared.
    errors : int
        Labelled images that could not be decoded, or that a model gave no finite answer to; in no other figure.
    top1, top5 : float
        Share of images whose label is the first, among the first five.
    float_top1, float_top5, accuracy_drop, agreement : float, optional
        The same of the float model; the drop in top-1; how often both have the same first label.
    changed : int, optional
        Images on which exactly one of the two has the label first.
    sqnr_db : float, optional
        ``10 log10(sum float^2 / sum (float - INT8)^2)`` over all outputs; None where nothing differs.
    warnings : tuple of str
        Reasons why the figures may be worth nothing (`sparkq.metrics.plausibility`): one label for all images, accuracy at chance
        level.
    """

    images: int
    errors: int
    top1: float
    top5: float
    float_top1: float | None = None
    float_top5: float | None = None
    accuracy_drop: float | None = None
    agreement: float | None = None
    changed: int | None = None
    sqnr_db: float | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class EmbeddingComparison:
    """How near the embeddings of an INT8 artifact come to those of its float model.

    Parameters
    ----------
    images : int
        Images that were compared.
    errors : int
        Images that could not be decoded, or that a model gave no finite answer to; in no other figure.
    mean_cosine, least_cosine : float
        Of the cosine similarity of both vectors of an image, -1 to 1.
    sqnr_db : float, optional
        ``10 log10(sum float^2 / sum (float - INT8)^2)`` over all outputs; None where nothing differs.
    """

    images: int
    errors: int
    mean_cosine: float
    least_cosine: float
    sqnr_db: float | None
