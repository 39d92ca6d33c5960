"""Boxes as arrays: default boxes, offsets from them, and how much two overlap."""
from __future__ import annotations

import math
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from sparkq.config import AnchorConfig

__all__ = ["anchor_boxes", "decode_boxes", "overlaps"]

# Absurd settings and offsets give infinite corners, which are cut off at the image's edge, or none, which are no box.
_BEYOND_FLOAT32 = np.errstate(over="ignore", divide="ignore", invalid="ignore")

_Real = TypeVar("_Real", np.float32, np.float64)

# A thousand pixels from a default box of 16: what exp() is kept from growing beyond, as in torchvision.
_LARGEST_GROWTH = np.float32(math.log(1000 / 16))
_HALF = np.float32(0.5)


@_BEYOND_FLOAT32
def anchor_boxes(anchors: AnchorConfig, input_size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Default boxes in pixels of the input.

    Parameters
    ----------
    anchors : AnchorConfig
        A boxes in all.
    input_size : (int, int)
        Height and width of the input.

    Returns
    -------
    ndarray of float32 [A, 4]
        x_min, y_min, x_max, y_max.
    """
    height, width = input_size
    found = []
    for index, (rows, columns) in enumerate(anchors.feature_maps):
        step = None if anchors.steps is None else anchors.steps[index]
        x = (np.arange(columns, dtype=np.float32) + _HALF) / np.float32(columns if step is None else width / step)
        y = (np.arange(rows, dtype=np.float32) + _HALF) / np.float32(rows if step is None else height / step)
        sizes = np.array(_sizes(anchors, index), np.float32)
        if anchors.clip:
            sizes = np.clip(sizes, np.float32(0), np.float32(1))
        middle_y, middle_x = np.meshgrid(y, x, indexing="ij")
        middles = np.stack((middle_x, middle_y), axis=-1).reshape(-1, 1, 2)
        found.append(np.concatenate((middles - _HALF * sizes, middles + _HALF * sizes), axis=-1).reshape(-1, 4))
    boxes: npt.NDArray[np.float32] = np.concatenate(found) * np.array([width, height, width, height], np.float32)
    return boxes


def _sizes(anchors: AnchorConfig, index: int) -> list[tuple[float, float]]:
    """(width, height) of the boxes at one place of a map, relative to the input."""
    scale, between = anchors.scales[index], math.sqrt(anchors.scales[index] * anchors.scales[index + 1])
    sizes = [(scale, scale), (between, between)]
    for ratio in anchors.aspect_ratios[index]:
        longer, shorter = scale * math.sqrt(ratio), scale / math.sqrt(ratio)
        sizes += [(longer, shorter), (shorter, longer)]
    return sizes


@_BEYOND_FLOAT32
def decode_boxes(
    offsets: npt.NDArray[np.float32], anchors: npt.NDArray[np.float32], weights: tuple[float, ...],
) -> npt.NDArray[np.float32]:
    """Boxes that are `offsets` away from `anchors` (Ren et al. 2015, "Faster R-CNN", section 3.1.2).

    Parameters
    ----------
    offsets : ndarray of float32 [B, 4]
        Of the middle x and y, in widths and heights of the anchor, and the logarithms of width and height to the anchor's; all
        times `weights`.
    anchors : ndarray of float32 [B, 4]
        Corners, as `anchor_boxes` gives them.
    weights : tuple of 4 float
        As ``AnchorConfig.box_weights``.

    Returns
    -------
    ndarray of float32 [B, 4]
        x_min, y_min, x_max, y_max; not NaN where offsets are finite.
    """
    sizes = anchors[:, 2:] - anchors[:, :2]
    scaled = offsets / np.array(weights, np.float32)
    middles = anchors[:, :2] + _HALF * sizes + scaled[:, :2] * sizes
    halves = _HALF * sizes * np.exp(np.minimum(scaled[:, 2:], _LARGEST_GROWTH))
    boxes: npt.NDArray[np.float32] = np.concatenate((middles - halves, middles + halves), axis=1)
    return boxes


def overlaps(one: npt.NDArray[_Real], other: npt.NDArray[_Real]) -> npt.NDArray[_Real]:
    """Intersection over union of each box of `one` ([N, 4]) with each of `other` ([M, 4]), [N, M]; 0 of two empty boxes.

    Computed in the type of the corners.
    """
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    sides = np.maximum(high - low, one.dtype.type(0))
    shared = sides[..., 0] * sides[..., 1]
    areas = [(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) for boxes in (one, other)]
    union = areas[0][:, None] + areas[1][None, :] - shared
    ratios: npt.NDArray[_Real] = shared / np.where(union > 0, union, one.dtype.type(1))
    return ratios
