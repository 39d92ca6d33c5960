"""Images as a network gets them: the tensor that it computes on, made visible again."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sparkq.config import PreprocessConfig
from sparkq.quantization.normalization import normalize

__all__ = ["ChannelValues", "SeenImage", "channel_values", "denormalized", "network_values", "value_note", "values_as_pixels"]

# (0 - 0.485) / 0.229 is -2.1, (1 - 0.406) / 0.225 is 2.6: ImageNet's normalization of black and of white.
_SHOWN_VALUES = 2.5
# Normalized photographs have about 0 and 1; pixels from -1 to 1 a spread of a half; from 0 to 1, or to 255, far from both.
_MOST_MEAN, _LEAST_SPREAD, _MOST_SPREAD = 1.0, 0.4, 2.5


@dataclass(frozen=True, eq=False)
class SeenImage:
    """One image on its way into a network, and the network's answer.

    Parameters
    ----------
    path : str, optional
        Where it lies; None where only its pixels are known.
    pixels : ndarray of uint8 [H, W, 3], optional
        RGB at the network's input size, resized and cropped; None where it cannot be decoded.
    answer : mapping
        The columns that a row of a prediction would have; boxes in pixels of the input. Empty where there is none.
    error_code, error_message : str, optional
        Why there is no answer, as in a row.
    """

    path: str | None
    pixels: npt.NDArray[np.uint8] | None = None
    answer: Mapping[str, Any] | None = None
    error_code: str | None = None
    error_message: str | None = None


@dataclass(frozen=True)
class ChannelValues:
    """The values that a network gets in one channel.

    Parameters
    ----------
    name : str
        R, G or B.
    least, mean, spread, most : float
        Minimum, mean, standard deviation and maximum over all pixels of all images.
    """

    name: str
    least: float
    mean: float
    spread: float
    most: float


def network_values(pixels: npt.NDArray[np.uint8], preprocess: PreprocessConfig) -> npt.NDArray[np.float32]:
    """Return the values that a network computes on for one image: float32 [H, W, 3], channels in its own order."""
    # A copy: Pillow's pixels may not be written to, of which torch complains.
    tensor = normalize(torch.from_numpy(np.array(pixels)[np.newaxis]), preprocess)
    values: npt.NDArray[np.float32] = tensor[0].permute(1, 2, 0).numpy()
    return values


def denormalized(values: npt.NDArray[np.float32], preprocess: PreprocessConfig) -> npt.NDArray[np.uint8]:
    """Undo the arithmetic, not the order of channels: what the network takes for its first channel is shown as red."""
    pixels = (values * np.asarray(preprocess.channel_std) + preprocess.channel_mean) / float(preprocess.rescale)
    whole: npt.NDArray[np.uint8] = pixels.round().clip(0, 255).astype(np.uint8)
    return whole


def values_as_pixels(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Show the values themselves, -2.5 as black and 2.5 as white, so that a wrong mean or std is seen: pale, dark or glaring."""
    return (255 * (values / (2 * _SHOWN_VALUES) + 0.5)).round().clip(0, 255).astype(np.uint8)


def channel_values(images: Sequence[npt.NDArray[np.float32]], channel_order: str) -> list[ChannelValues]:
    """Sum up the values of images [H, W, 3], a channel each; empty without images."""
    if not images:
        return []
    every = np.concatenate([values.reshape(-1, 3) for values in images]).astype(np.float64)
    return [
        ChannelValues(name, float(column.min()), float(column.mean()), float(column.std()), float(column.max()))
        for name, column in zip(channel_order, every.T, strict=True)
    ]


def value_note(channels: Sequence[ChannelValues]) -> str | None:
    """Say that the values are not those of normalized photographs, if they are not."""
    if not channels:
        return None
    mean = max((channel.mean for channel in channels), key=abs)
    spread = sum(channel.spread for channel in channels) / len(channels)
    if abs(mean) <= _MOST_MEAN and _LEAST_SPREAD <= spread <= _MOST_SPREAD:
        return None
    return (
        f"The network's input has a mean of {mean:.3g} and a standard deviation of {spread:.3g}; that of normalized photographs "
        "has about 0 and 1. Unless the network was trained so, rescale, mean or std is wrong."
    )
