"""An image that stands in where there is none."""
from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["pattern_image"]


def pattern_image(input_size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Make an image for the golden input, uint8 [H, W, 3]: the same bytes on every machine, no two regions alike."""
    row, column = np.indices(input_size)
    channels = [row * 5 + column * 3 + row * column // 7, row * 2 + column * 7, row * column // 3 + column]
    return (np.stack(channels, axis=2) % 256).astype(np.uint8)
