"""Views of held-out images: shifted by so few pixels that a viewer sees no difference, but every rounding falls anew.

Whether INT8 flips the label of an image that float is not sure of is chance, and a shifted image is another draw: on four of
five trained networks the losses of images and of their shifted selves had correlations of -0.02 to 0.26, and nine views of 900
images brought the standard error from 0.073 to 0.029 points (ResNet-20) and from 0.080 to 0.035 (MobileNetV3). On the fifth
(MobileNetV1) one photograph of 290 has a third of all loss, and two of its shifted selves have it as well.
"""
from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["VIEWS", "shifted"]

VIEWS = 9
_SHIFTS = ((0, 0), (1, 0), (-1, 1), (0, -1), (-1, 0), (1, 1), (0, 1), (1, -1), (-1, -1))
_LARGEST_SHARE = 64


def shifted(images: npt.NDArray[np.uint8], view: int) -> npt.NDArray[np.uint8]:
    """View number `view` (0 to 8) of images, uint8 [N, H, W, 3]: the images themselves, or moved by a 64th of their size.

    At least by one pixel; what moves in is the edge's pixels repeated.
    """
    if view == 0:
        return images
    vertical, horizontal = (
        shift * max(1, size // _LARGEST_SHARE) for shift, size in zip(_SHIFTS[view], images.shape[1:3], strict=True)
    )
    rows = (np.arange(images.shape[1]) + vertical).clip(0, images.shape[1] - 1)
    columns = (np.arange(images.shape[2]) + horizontal).clip(0, images.shape[2] - 1)
    return np.ascontiguousarray(images[:, rows][:, :, columns])
