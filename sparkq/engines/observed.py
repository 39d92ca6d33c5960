"""Saturation of a quantized network is counted while its ordinary payload runs; nothing is added to the payload."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sparkq.engines.base import Engine
from sparkq.engines.torch_graph.engine import TorchEngine
from sparkq.engines.torch_graph.lowering import Step

__all__ = ["Observation", "observe"]

_ROUNDED = ".quantized"


@dataclass(frozen=True)
class Observation:
    """The outputs of a forward pass, and how much of its activations saturated.

    Parameters
    ----------
    outputs : ndarray of float32 [N, C]
        As the engine gives them.
    names : tuple of str
        The L quantized activations in the order in which they are computed: layer, or operator and number.
    ranges : tuple of (float, float)
        The values that the smallest and the largest level of each stand for.
    saturated : ndarray of float64 [N, L]
        Share of each image's values at an end of the range; a lowest level that stands for zero is no end.
    """

    outputs: npt.NDArray[np.float32]
    names: tuple[str, ...]
    ranges: tuple[tuple[float, float], ...]
    saturated: npt.NDArray[np.float64]


class _ActivationWatch:
    """A watch that sees every step's result and keeps three numbers of each quantized one that has a range of its own."""

    def __init__(self, levels: int) -> None:
        self.top = levels - 1
        self.names: list[str] = []
        self.ranges: list[tuple[float, float]] = []
        self.shares: list[npt.NDArray[np.float64]] = []

    def __call__(self, step: Step, result: Tensor) -> None:
        # Other operators (a maximum, a flatten, a concatenation) hand the range of their input on.
        if step.own_range is None:
            return
        scale, zero_point = step.own_range
        integers = _integers(result)
        # With 7-bit activations the levels above are not clipped, but they lie outside the calibrated range.
        outside = [np.count_nonzero(image >= self.top) + (zero_point > 0 and np.count_nonzero(image == 0)) for image in integers]
        self.names.append(step.name.removesuffix(_ROUNDED))
        self.ranges.append((-zero_point * scale, (self.top - zero_point) * scale))
        self.shares.append(np.array(outside, np.float64) / integers.shape[1])


def _integers(result: Tensor) -> npt.NDArray[np.uint8]:
    """The stored integers, in the order in which they lie in memory within an image: [N, values]."""
    integers = result.int_repr()
    channels_last = integers.ndim == 4 and integers.is_contiguous(memory_format=torch.channels_last)
    return (integers.permute(0, 2, 3, 1) if channels_last else integers).flatten(1).numpy()


def observe(engine: Engine, images: npt.NDArray[np.uint8], *, levels: int | None) -> Observation:
    """Run one forward pass and count values at the ends of the calibrated ranges.

    Parameters
    ----------
    engine : Engine
        An engine that torch runs; of any other nothing is watched.
    images : ndarray of uint8 [N, H, W, 3]
        RGB.
    levels : int, optional
        How many levels activations were calibrated to: 256, or 128 for target ``avx2``. None watches none of them.
    """
    if levels is None or not isinstance(engine, TorchEngine):
        return Observation(engine.run(images), (), (), np.zeros((len(images), 0)))
    # A larger batch would run every operator once for each part of it.
    a_pass = engine.images_a_pass or max(len(images), 1)
    parts = [_observe_pass(engine, images[start:start + a_pass], levels) for start in range(0, max(len(images), 1), a_pass)]
    first = parts[0]
    return Observation(
        np.concatenate([part.outputs for part in parts]), first.names, first.ranges,
        np.concatenate([part.saturated for part in parts]),
    )


def _observe_pass(engine: TorchEngine, images: npt.NDArray[np.uint8], levels: int) -> Observation:
    watch = _ActivationWatch(levels)
    outputs = engine.run(images, watch)
    shares = np.stack(watch.shares, 1) if watch.shares else np.zeros((len(images), 0))
    return Observation(outputs, tuple(watch.names), tuple(watch.ranges), shares)
