"""The raw answers that a detector may give, and how many classes they are of."""
from __future__ import annotations

from sparkq.config import AnchorConfig
from sparkq.errors import ModelError

__all__ = ["OUTPUT_FORMS", "class_count"]

OUTPUT_FORMS = (
    "expected class logits [N, anchors, classes] and box offsets [N, anchors, 4], or a list of maps of each, "
    "[N, anchors a place * classes, rows, columns] and [N, anchors a place * 4, rows, columns]"
)
"""The raw answers that a detector may give, for messages."""


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
