"""Observations of a pass over calibration images: small states that merge exactly, in any order and any grouping."""
from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sparkq.errors import ModelError
from sparkq.quantization.calibration.histogram import BINS, Histogram

__all__ = ["ChannelExtremes", "Observations"]


@dataclass
class ChannelExtremes:
    """Lowest and highest value a channel.

    Parameters
    ----------
    lowest, highest : ndarray of float32 [C]
        Exact.
    """

    lowest: npt.NDArray[np.float32]
    highest: npt.NDArray[np.float32]

    def merge(self, other: ChannelExtremes) -> None:
        """Take in what was seen elsewhere."""
        self.lowest, self.highest = np.minimum(self.lowest, other.lowest), np.maximum(self.highest, other.highest)


@dataclass
class Observations:
    """The states of the tensors that an `ObservedModel` observes, in its order; one list is empty.

    Parameters
    ----------
    histograms : list of Histogram
        One a tensor, where values were counted.
    extremes : list of ChannelExtremes
        One a tensor, where channels were compared.
    """

    histograms: list[Histogram] = field(default_factory=list)
    extremes: list[ChannelExtremes] = field(default_factory=list)

    @classmethod
    def of(cls, found: Iterable[tuple[Tensor, Tensor]]) -> Observations:
        """Take the states that one forward pass of an `ObservedModel` gave."""
        observations = cls()
        for first, second in found:
            if first.dtype == torch.int64:
                observations.histograms.append(Histogram.of(first.numpy(), second.numpy()))
            else:
                observations.extremes.append(ChannelExtremes(first.numpy(), second.numpy()))
        return observations

    def merge(self, other: Observations) -> None:
        """Take in what was seen of the same tensors on other images."""
        if not self.histograms and not self.extremes:
            self.histograms, self.extremes = list(other.histograms), list(other.extremes)
        elif other.histograms or other.extremes:
            for histogram, counted in zip(self.histograms, other.histograms, strict=True):
                histogram.merge(counted)
            for extreme, compared in zip(self.extremes, other.extremes, strict=True):
                extreme.merge(compared)

    def require_finite(self, names: Sequence[str]) -> None:
        """Refuse NaN and infinite values: INT8 has none, so that later none would be seen.

        Raises
        ------
        ModelError
            With the first of `names`, one a tensor, whose values are not all finite.
        """
        ends = [np.array([one.minimum, one.maximum]) for one in self.histograms]
        ends += [np.stack([one.lowest, one.highest]) for one in self.extremes]
        for name, (low, high) in zip(names, ends, strict=True):
            nothing_seen = np.all(low == np.inf) and np.all(high == -np.inf)
            if not nothing_seen and not (np.all(np.isfinite(low)) and np.all(np.isfinite(high))):
                raise ModelError(
                    f"model: expected finite activations on the calibration images; got NaN or infinite values at {name}.",
                    hint="check the weights and preprocess.",
                )

    def dumps(self) -> bytes:
        """A compressed npz, no pickle in it."""
        stream = io.BytesIO()
        np.savez_compressed(
            stream,
            counts=np.array([one.counts for one in self.histograms], np.int64).reshape(-1, BINS),
            spans=np.array([(one.exponent, one.minimum, one.maximum) for one in self.histograms], np.float64).reshape(-1, 3),
            channels=np.array([len(one.lowest) for one in self.extremes], np.int64),
            lowest=np.concatenate([*(one.lowest for one in self.extremes), np.empty(0, np.float32)]),
            highest=np.concatenate([*(one.highest for one in self.extremes), np.empty(0, np.float32)]),
        )
        return stream.getvalue()

    @classmethod
    def loads(cls, data: bytes) -> Observations:
        """Read the bytes of `dumps`."""
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            ends = np.cumsum(arrays["channels"])[:-1]
            channels = zip(np.split(arrays["lowest"], ends), np.split(arrays["highest"], ends), strict=True)
            return cls(
                [Histogram.of(counts, span) for counts, span in zip(arrays["counts"], arrays["spans"], strict=True)],
                [ChannelExtremes(*pair) for pair in channels] if len(arrays["channels"]) else [],
            )
