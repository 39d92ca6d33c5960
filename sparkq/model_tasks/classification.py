"""Classification: a ranking of classes."""
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
from sparkq.model_tasks.ranking import best_class, ranked, softmax

__all__ = ["Classification"]

_RANKED = pa.struct([("label", pa.int32()), ("label_name", pa.string()), ("score", pa.float32())])


@dataclass(frozen=True)
class Classification:
    """Outputs are one number a class.

    Parameters
    ----------
    labels : tuple of str, optional
        Name of each class.
    scores : str
        What outputs are, as in the manifest.
    """

    labels: tuple[str, ...] | None = None
    scores: str = "logits"
    fields: ClassVar[pa.Schema] = pa.schema([
        ("label", pa.int32()), ("label_name", pa.string()), ("score", pa.float32()), ("top_k", pa.list_(_RANKED)),
    ])

    @classmethod
    def of(cls, manifest: Manifest) -> Classification:
        """Make the model task of an artifact."""
        return cls(manifest.labels, manifest.scores or "logits")

    @classmethod
    def of_outputs(
        cls, outputs: npt.NDArray[np.float32], *, labels: Sequence[str] | None, config: ModelTaskConfig,
        input_size: tuple[int, int],
    ) -> Classification:
        """Make the task of a model with such outputs on calibration images."""
        if labels is not None and len(labels) != outputs.shape[1]:
            raise InputError(
                f"labels: expected {outputs.shape[1]} names, one a class of the model; got {len(labels)}.",
                hint="give one name a line, in the order of the model's outputs.",
            )
        # A softmax applied twice looks like a prediction, with every score wrong.
        sums_to_one = np.abs(outputs.sum(axis=1) - 1).max() < 0.05 and outputs.min() >= 0 and outputs.shape[1] > 1
        return cls(None if labels is None else tuple(labels), "probabilities" if sums_to_one else "logits")

    def classes(self, outputs: int) -> int:
        """The number of classes: as many as outputs."""
        return outputs

    def probabilities(self, outputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The softmax of outputs [N, C], or they themselves where the model ends in one."""
        return outputs if self.scores == "probabilities" else softmax(outputs)

    def rank(self, outputs: npt.NDArray[np.float32], top_k: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Classes, best first, and their probabilities, [N, K] each; of equal outputs the smaller index first."""
        labels = ranked(outputs, top_k)
        return labels, np.take_along_axis(self.probabilities(outputs), labels, axis=1)

    def rows(
        self, outputs: npt.NDArray[np.float32], *, geometries: Sequence[ImageGeometry], top_k: int,
    ) -> list[dict[str, Any]]:
        """The best class, and the ranking."""
        labels, scores = self.rank(outputs, min(top_k, outputs.shape[1]))
        rankings = [
            [{"label": label, "label_name": self._name(label), "score": score} for label, score in zip(*pair, strict=True)]
            for pair in zip(labels.tolist(), scores.tolist(), strict=True)
        ]
        return [{**ranking[0], "top_k": ranking} for ranking in rankings]

    def golden_parts(self, output: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
        """All of it."""
        return [output]

    def best(self, outputs: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """The first of the ranking."""
        return best_class(outputs, self.scores)

    def closeness(self, expected: npt.NDArray[np.float32], outputs: npt.NDArray[np.float32]) -> dict[str, float]:
        """Percent of images with the same first label."""
        return {"agreement": 100 * float((expected.argmax(1) == outputs.argmax(1)).mean())}

    def _name(self, label: int) -> str | None:
        return None if self.labels is None else self.labels[label]
