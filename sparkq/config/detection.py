"""Settings that turn the raw outputs of an SSD-style network into boxes."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sparkq.config.checks import check_positive, check_share, number, pair
from sparkq.errors import ConfigError

__all__ = ["BOX_CORNERS", "AnchorConfig", "DetectionConfig"]

BOX_CORNERS = ("x_min", "y_min", "x_max", "y_max")
"""The corners of a box, by name and in order: in rows, in label files and in what is drawn, in pixels of the upright image."""

_PLACE = "detection.anchors"


@dataclass(frozen=True)
class AnchorConfig:
    """The default boxes that a network's box offsets are relative to (Liu et al. 2016, "SSD", section 2.2).

    On each feature map, at each of its places, row by row: a square of this map's scale, one of the geometric mean of this
    scale and the next, then for each aspect ratio r the box ``scale * sqrt(r)`` by ``scale / sqrt(r)`` and the same upright.
    The same boxes in the same order as torchvision's ``DefaultBoxGenerator``.

    Parameters
    ----------
    feature_maps : sequence of (int, int)
        Rows and columns of each map, in the order in which the network's heads answer.
    scales : sequence of float
        One a map and one more, relative to the input's size.
    aspect_ratios : sequence of sequence of float
        One list a map; width to height, without 1 and without inverses.
    steps : sequence of float, optional
        Pixels of the input from one place to the next, one a map. None: the input's size by the map's.
    clip : bool
        No box is wider or higher than the input.
    box_weights : sequence of float
        What offsets of x, y, width and height are divided by: inverses of SSD's variances 0.1, 0.1, 0.2, 0.2.
    """

    feature_maps: tuple[tuple[int, int], ...]
    scales: tuple[float, ...]
    aspect_ratios: tuple[tuple[float, ...], ...]
    steps: tuple[float, ...] | None = None
    clip: bool = True
    box_weights: tuple[float, ...] = (10.0, 10.0, 5.0, 5.0)

    def __post_init__(self) -> None:
        maps = tuple(pair(f"{_PLACE}.feature_maps", size) for size in _listed("feature_maps", self.feature_maps))
        ratios = tuple(_positive("aspect_ratios", item) for item in _listed("aspect_ratios", self.aspect_ratios))
        object.__setattr__(self, "feature_maps", maps)
        object.__setattr__(self, "aspect_ratios", ratios)
        object.__setattr__(self, "scales", _positive("scales", self.scales))
        object.__setattr__(self, "box_weights", _positive("box_weights", self.box_weights))
        if self.steps is not None:
            object.__setattr__(self, "steps", _positive("steps", self.steps))
        for name, expected in (("scales", len(maps) + 1), ("aspect_ratios", len(maps)), ("steps", len(maps)), ("box_weights", 4)):
            values = getattr(self, name)
            if values is not None and len(values) != expected:
                raise ConfigError(f"{_PLACE}.{name}: expected {expected}, for {len(maps)} feature maps; got {len(values)}.")
        if not maps:
            raise ConfigError(f"{_PLACE}.feature_maps: expected at least one (rows, columns); got none.")

    @property
    def per_place(self) -> tuple[int, ...]:
        """Boxes at each place, one number a map."""
        return tuple(2 + 2 * len(ratios) for ratios in self.aspect_ratios)

    @property
    def count(self) -> int:
        """All boxes."""
        return sum(rows * columns * boxes for (rows, columns), boxes in zip(self.feature_maps, self.per_place, strict=True))


@dataclass(frozen=True)
class DetectionConfig:
    """Settings that turn a network's outputs into the boxes of a row.

    Parameters
    ----------
    anchors : AnchorConfig, optional
        None: those that the model says of itself, in its attribute ``anchors``; torchvision's SSD models do.
    score_threshold : float
        Boxes with this score (0 to 1) or a lower one are left out.
    iou_threshold : float
        Of two boxes of one class that overlap by more than this (intersection over union), the better one stays.
    candidates : int
        How many boxes of a class, the best ones, are looked at.
    max_detections : int
        How many boxes an image keeps, over all classes.
    """

    anchors: AnchorConfig | None = None
    score_threshold: float = 0.05
    iou_threshold: float = 0.45
    candidates: int = 400
    max_detections: int = 200

    def __post_init__(self) -> None:
        check_share("detection.score_threshold", self.score_threshold)
        check_share("detection.iou_threshold", self.iou_threshold)
        check_positive("detection.candidates", self.candidates)
        check_positive("detection.max_detections", self.max_detections)


def _listed(name: str, value: Any) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        raise ConfigError(f"{_PLACE}.{name}: expected a list; got {value!r}.")
    return list(value)


def _positive(name: str, value: Any) -> tuple[float, ...]:
    numbers = tuple(number(f"{_PLACE}.{name}", item) for item in _listed(name, value))
    if not all(item > 0 for item in numbers):
        raise ConfigError(f"{_PLACE}.{name}: expected numbers above 0; got {list(numbers)}.")
    return numbers
