"""Embedding: the outputs themselves, a vector that tells how alike images are."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sparkq.artifact.manifest import Manifest
from sparkq.config import ModelTaskConfig
from sparkq.errors import InputError
from sparkq.images.preprocess import ImageGeometry

__all__ = ["Embedding", "cosine_similarity"]


@dataclass(frozen=True)
class Embedding:
    """Outputs are the vector. It is not scaled to length 1."""

    labels: ClassVar[None] = None
    scores: ClassVar[None] = None
    fields: ClassVar[pa.Schema] = pa.schema([("embedding", pa.list_(pa.float32()))])

    @classmethod
    def of(cls, manifest: Manifest) -> Embedding:
        """Make the model task of an artifact."""
        return cls()

    @classmethod
    def of_outputs(
        cls, outputs: npt.NDArray[np.float32], *, labels: Sequence[str] | None, config: ModelTaskConfig,
        input_size: tuple[int, int],
    ) -> Embedding:
        """Make the task of a model with such outputs on calibration images."""
        if labels is not None:
            raise InputError(
                f"labels: expected none with task embedding, which names no classes; got {len(labels)}.",
                hint="leave the labels out.",
            )
        return cls()

    def classes(self, outputs: int) -> int:
        """None are told apart."""
        return 0

    def rows(
        self, outputs: npt.NDArray[np.float32], *, geometries: Sequence[ImageGeometry], top_k: int,
    ) -> list[dict[str, Any]]:
        """The vector of each image."""
        return [{"embedding": output} for output in outputs]

    def golden_parts(self, output: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
        """All of it."""
        return [output]

    def best(self, outputs: npt.NDArray[np.float32]) -> None:
        """A vector has no label and no score."""
        return None

    def closeness(self, expected: npt.NDArray[np.float32], outputs: npt.NDArray[np.float32]) -> dict[str, float]:
        """The mean cosine similarity."""
        return {"cosine": round(float(cosine_similarity(expected, outputs).mean()), 6)}


def cosine_similarity(
    one: npt.NDArray[np.float32], other: npt.NDArray[np.float32],
) -> npt.NDArray[np.float64]:
    """``x.y / (|x| |y|)`` of each pair of rows of two arrays [N, C], float64 [N], -1 to 1.

    Two vectors of zeros are alike (1); one of zeros is unlike any other (0).
    """
    x, y = one.astype(np.float64), other.astype(np.float64)
    lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    both_zero = ~(x.any(axis=1) | y.any(axis=1))
    cosines: npt.NDArray[np.float64] = np.where(
        both_zero, 1.0, (x * y).sum(axis=1) / np.where(lengths > 0, lengths, 1.0),
    )
    return cosines.clip(-1, 1)
