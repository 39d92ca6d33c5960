"""Detection: boxes with classes, in pixels of the original image."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sparkq.artifact.manifest import Manifest
from sparkq.config import AnchorConfig, DetectionConfig, ModelTaskConfig
from sparkq.config.detection import BOX_CORNERS
from sparkq.errors import InputError
from sparkq.images.preprocess import ImageGeometry
from sparkq.model_tasks.detection.agreement import BoxAgreement
from sparkq.model_tasks.detection.detector import Boxes, Detector
from sparkq.model_tasks.detection.outputs import class_count

__all__ = ["Detection"]

_DETECTED = pa.struct([
    ("label", pa.int32()), ("label_name", pa.string()), ("score", pa.float32()), *((name, pa.float32()) for name in BOX_CORNERS),
])


@dataclass(frozen=True)
class Detection:
    """Outputs are class logits and box offsets of anchors, as `sparkq.float_models.detection_heads.DetectionOutputs` gives them.

    Parameters
    ----------
    config : DetectionConfig
        With anchors.
    input_size : (int, int)
        Height and width of the network's input in pixels.
    labels : tuple of str, optional
        Name of each class; the first is the background, which no box has.
    """

    config: DetectionConfig
    input_size: tuple[int, int]
    labels: tuple[str, ...] | None = None
    scores: ClassVar[None] = None
    fields: ClassVar[pa.Schema] = pa.schema([("detections", pa.list_(_DETECTED))])

    @classmethod
    def of(cls, manifest: Manifest) -> Detection:
        """Make the model task of an artifact."""
        return cls(manifest.detection or DetectionConfig(), manifest.input_size, manifest.labels)

    @classmethod
    def of_outputs(
        cls, outputs: npt.NDArray[np.float32], *, labels: Sequence[str] | None, config: ModelTaskConfig,
        input_size: tuple[int, int],
    ) -> Detection:
        """Make the task of a model with such outputs on calibration images."""
        model_task = cls(config.detection, input_size, None if labels is None else tuple(labels))
        classes = model_task.classes(outputs.shape[1])
        if labels is not None and len(labels) != classes:
            raise InputError(
                f"labels: expected {classes} names, one a class of the model, the first of them the background's; got "
                f"{len(labels)}.",
                hint="give one name a line, the background's first.",
            )
        return model_task

    @property
    def anchors(self) -> AnchorConfig:
        """The default boxes."""
        assert self.config.anchors is not None  # a manifest's are checked when it is read
        return self.config.anchors

    @cached_property
    def detector(self) -> Detector:
        """The detector, which makes boxes of raw outputs."""
        return Detector(self.config, self.anchors, self.input_size)

    def classes(self, outputs: int) -> int:
        """The number of classes, the background included."""
        return class_count(self.anchors, outputs)

    def rows(
        self, outputs: npt.NDArray[np.float32], *, geometries: Sequence[ImageGeometry], top_k: int,
    ) -> list[dict[str, Any]]:
        """The boxes of each image in pixels of the upright original, best first; as many as ``max_detections`` allows."""
        return [
            {"detections": self._listed(self.detector.detect(output), geometry)}
            for output, geometry in zip(outputs, geometries, strict=True)
        ]

    def _listed(self, boxes: Boxes, geometry: ImageGeometry) -> list[dict[str, Any]]:
        corners = geometry.to_original(boxes.corners)
        return [
            {
                "label": label, "label_name": None if self.labels is None else self.labels[label], "score": score,
                **dict(zip(BOX_CORNERS, corner, strict=True)),
            }
            for label, score, corner in zip(boxes.labels.tolist(), boxes.scores.tolist(), corners.tolist(), strict=True)
        ]

    def golden_parts(self, output: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
        """A sample of the logits and one of the offsets, both from all feature maps: whole they would be larger than the rest."""
        return self.detector.samples(output)

    def best(self, outputs: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """The class that an anchor is most likely to show, whichever it is, below the threshold too."""
        labels, scores = zip(*map(self.detector.likeliest, outputs), strict=True) if len(outputs) else ((), ())
        return np.asarray(labels, np.int64), np.asarray(scores, np.float32)

    def closeness(self, expected: npt.NDArray[np.float32], outputs: npt.NDArray[np.float32]) -> dict[str, float]:
        """F1 of the boxes in percent (`sparkq.model_tasks.detection.agreement`); nothing where neither model finds any."""
        agreement = BoxAgreement()
        for pair in zip(expected, outputs, strict=True):
            agreement.add(*map(self.detector.detect, pair))
        return {} if agreement.f1 is None else {"agreement": round(100 * agreement.f1, 4)}
