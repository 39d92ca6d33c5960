"""Boxes as tensors: default boxes, offsets from them, and how much two overlap."""
from __future__ import annotations

import math

import torch
from torch import Tensor

from sparkq.config import AnchorConfig
from sparkq.errors import ModelError

__all__ = ["OUTPUT_FORMS", "anchor_boxes", "class_count", "decode_boxes", "overlaps"]

OUTPUT_FORMS = (
    "expected class logits [N, anchors, classes] and box offsets [N, anchors, 4], or a list of maps of each, "
    "[N, anchors a place * classes, rows, columns] and [N, anchors a place * 4, rows, columns]"
)
"""The raw answers that a detector may give, for messages."""

# A thousand pixels from a default box of 16: what exp() is kept from growing beyond, as in torchvision.
_LARGEST_GROWTH = math.log(1000 / 16)


def anchor_boxes(anchors: AnchorConfig, input_size: tuple[int, int]) -> Tensor:
    """Default boxes in pixels of the input.

    Parameters
    ----------
    anchors : AnchorConfig
        A boxes in all.
    input_size : (int, int)
        Height and width of the input.

    Returns
    -------
    Tensor
        float32 [A, 4]: x_min, y_min, x_max, y_max.
    """
    height, width = input_size
    found = []
    for index, (rows, columns) in enumerate(anchors.feature_maps):
        step = None if anchors.steps is None else anchors.steps[index]
        x = (torch.arange(columns) + 0.5) / (columns if step is None else width / step)
        y = (torch.arange(rows) + 0.5) / (rows if step is None else height / step)
        sizes = torch.tensor(_sizes(anchors, index))
        if anchors.clip:
            sizes = sizes.clamp(0, 1)
        middle_y, middle_x = torch.meshgrid(y, x, indexing="ij")
        middles = torch.stack((middle_x, middle_y), dim=-1).reshape(-1, 1, 2)
        found.append(torch.cat((middles - 0.5 * sizes, middles + 0.5 * sizes), dim=-1).reshape(-1, 4))
    return torch.cat(found) * torch.tensor([width, height, width, height])


def _sizes(anchors: AnchorConfig, index: int) -> list[tuple[float, float]]:
    """(width, height) of the boxes at one place of a map, relative to the input."""
    scale, between = anchors.scales[index], math.sqrt(anchors.scales[index] * anchors.scales[index + 1])
    sizes = [(scale, scale), (between, between)]
    for ratio in anchors.aspect_ratios[index]:
        longer, shorter = scale * math.sqrt(ratio), scale / math.sqrt(ratio)
        sizes += [(longer, shorter), (shorter, longer)]
    return sizes


def decode_boxes(offsets: Tensor, anchors: Tensor, weights: tuple[float, ...]) -> Tensor:
    """Boxes that are `offsets` away from `anchors` (Ren et al. 2015, "Faster R-CNN", section 3.1.2).

    Parameters
    ----------
    offsets : Tensor
        float32 [B, 4]: of the middle x and y, in widths and heights of the anchor, and the logarithms of width and height to
        the anchor's; all times `weights`.
    anchors : Tensor
        float32 [B, 4].
    weights : tuple of 4 float
        As ``AnchorConfig.box_weights``.

    Returns
    -------
    Tensor
        float32 [B, 4], x_min, y_min, x_max, y_max; not NaN where offsets are finite.
    """
    sizes = anchors[:, 2:] - anchors[:, :2]
    scaled = offsets / offsets.new_tensor(weights)
    middles = anchors[:, :2] + 0.5 * sizes + scaled[:, :2] * sizes
    halves = 0.5 * sizes * scaled[:, 2:].clamp(max=_LARGEST_GROWTH).exp()
    return torch.cat((middles - halves, middles + halves), dim=1)


def overlaps(one: Tensor, other: Tensor) -> Tensor:
    """Intersection over union of each box of `one` ([N, 4]) with each of `other` ([M, 4]), [N, M]; 0 of two empty boxes.

    Computed in the type of the corners.
    """
    low = torch.maximum(one[:, None, :2], other[None, :, :2])
    high = torch.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(dim=2)
    areas = [(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) for boxes in (one, other)]
    union = areas[0][:, None] + areas[1][None, :] - shared
    return shared / torch.where(union > 0, union, 1)


def class_count(anchors: AnchorConfig, outputs: int) -> int:
    """K, the background among them, of a network with so many outputs.

    Raises
    ------
    ModelError
        If they are not those of so many anchors.
    """
    classes, rest = divmod(outputs, anchors.count)
    if rest or classes < 6:
        raise ModelError(
            f"model: {OUTPUT_FORMS}, for the {anchors.count} anchors of detection.anchors and at least 2 classes, the first of "
            f"them the background; got {outputs} numbers an image.",
            hint="compare detection.anchors with the network: feature_maps, and 2 + 2 * len(aspect_ratios) anchors a place.",
        )
    return classes - 4
