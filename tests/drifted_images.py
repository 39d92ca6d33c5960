"""Real images as a camera, a pipeline or the night may change them."""
from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

Pixels = npt.NDArray[np.uint8]


def inverted(images: Pixels) -> Pixels:
    """The negative."""
    return 255 - images


def blurred(images: Pixels) -> Pixels:
    """Out of focus: nothing finer than a twentieth of the picture is left."""
    kernel = ImageFilter.GaussianBlur(images.shape[1] / 20)
    return np.stack([np.asarray(Image.fromarray(image).filter(kernel)) for image in images])


def night(images: Pixels) -> Pixels:
    """A quarter of the light, and the shadows gone."""
    return np.asarray(64 * (images / 255.0) ** 2, np.uint8)


DRIFTED: dict[str, Callable[[Pixels], Pixels]] = {"inverted": inverted, "blurred": blurred, "night": night}
