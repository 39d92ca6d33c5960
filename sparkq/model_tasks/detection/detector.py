"""From a payload's raw outputs to boxes."""
from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from sparkq.config import AnchorConfig, DetectionConfig
from sparkq.model_tasks.detection.boxes import anchor_boxes, decode_boxes
from sparkq.model_tasks.detection.suppression import best_candidates, suppressed
from sparkq.model_tasks.ranking import softmax

__all__ = ["Boxes", "Detector"]

_SAMPLED = 512


@dataclass(frozen=True, eq=False)
class Boxes:
    """B boxes of one image, best first.

    Parameters
    ----------
    labels : ndarray of int64 [B]
        Classes; 0, the background, is none.
    scores : ndarray of float32 [B]
        Probabilities.
    corners : ndarray of float32 [B, 4]
        x_min, y_min, x_max, y_max.
    """

    labels: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]
    corners: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.labels)


class Detector:
    """The maker of boxes from raw outputs: softmax, decoding, the best of each class, non-maximum suppression (Liu et al. 2016).

    Parameters
    ----------
    config : DetectionConfig
        Thresholds.
    anchors : AnchorConfig
        A default boxes.
    input_size : (int, int)
        Height and width of the network's input in pixels.
    """

    def __init__(self, config: DetectionConfig, anchors: AnchorConfig, input_size: tuple[int, int]) -> None:
        self.config = config
        self._weights = anchors.box_weights
        self._anchors = anchor_boxes(anchors, input_size)
        self._map_ends = np.cumsum([
            rows * columns * boxes for (rows, columns), boxes in zip(anchors.feature_maps, anchors.per_place, strict=True)
        ])
        self._limits = np.array([input_size[1], input_size[0]] * 2, np.float32)

    def detect(self, outputs: npt.NDArray[np.float32]) -> Boxes:
        """The boxes of one image.

        Parameters
        ----------
        outputs : ndarray of float32 [A * (K + 4)]
            The logits of K classes, the first of which is the background, of one anchor after the other; then the four offsets
            of one anchor after the other. Finite.

        Returns
        -------
        Boxes
            In pixels of the network's input, within it; of equal scores first the smaller label, then the earlier anchor.
        """
        logits, offsets = self.split(outputs)
        scores = self._scores(logits)
        classes, boxes, values = best_candidates(
            scores, score_threshold=self.config.score_threshold, candidates=self.config.candidates,
        )
        decoded = decode_boxes(offsets[boxes], self._anchors[boxes], self._weights)
        decoded = np.clip(decoded, np.float32(0), self._limits)
        # What lies outside the image whole.
        kept = (decoded[:, 2:] > decoded[:, :2]).all(axis=1)
        classes, values, decoded = classes[kept], values[kept], decoded[kept]
        ends = np.cumsum(np.bincount(classes)).tolist()
        stays = np.concatenate([
            np.zeros(0, np.bool_),
            *(~suppressed(decoded[start:end], self.config.iou_threshold) for start, end in pairwise([0, *ends])),
        ])
        classes, values, decoded = classes[stays], values[stays], decoded[stays]
        best = np.argsort(-values, kind="stable")[: self.config.max_detections]
        return Boxes(classes[best] + 1, values[best], decoded[best])

    def likeliest(self, outputs: npt.NDArray[np.float32]) -> tuple[int, float]:
        """The class, other than the background, and the score that is the highest of all anchors'."""
        logits, _ = self.split(outputs)
        scores = self._scores(logits).max(axis=0)
        label = int(scores.argmax())
        return label + 1, float(scores[label])

    def samples(self, outputs: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
        """Take of one image's logits, and of its offsets, up to 512 from each feature map."""
        return [
            np.concatenate([_spread(part.ravel()) for part in np.split(numbers, self._map_ends[:-1])])
            for numbers in self.split(outputs)
        ]

    def split(self, outputs: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Logits [A, K] and offsets [A, 4] of one image's raw outputs."""
        offsets = 4 * len(self._anchors)
        return outputs[:-offsets].reshape(len(self._anchors), -1), outputs[-offsets:].reshape(-1, 4)

    @staticmethod
    def _scores(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Probabilities of the classes but the background, [A, K - 1]."""
        # In float64 it makes `detect` take half as long again: SSD300 has 800 000 of them an image.
        return softmax(logits, dtype=np.float32)[:, 1:]


def _spread(numbers: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return numbers[np.linspace(0, len(numbers) - 1, min(len(numbers), _SAMPLED)).astype(np.int64)]
