"""One input with its answer: what a worker holds its own answer against when it loads a model."""
from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sparkq.artifact.json_values import finite_number, listed, mapped, text, whole_number

__all__ = ["GOLDEN_BYTES", "Golden", "expand"]

GOLDEN_BYTES = 16_384
"""A golden input larger than this is stored at reduced size: ResNet-50's whole artifact must stay below 26.5 MB."""


@dataclass(frozen=True, eq=False)
class Golden:
    """One input and what the payload answers to it, checked when a worker loads the model.

    Parameters
    ----------
    pixels : ndarray of uint8 [h, w, 3]
        RGB; each pixel stands for `replication` x `replication` pixels of the input.
    replication : int
        How often a pixel is repeated in each direction.
    output : ndarray of float32 [S]
        The payload's answer on the machine that made the artifact, or the sample of it that its task compares.
    """

    pixels: npt.NDArray[np.uint8]
    replication: int
    output: npt.NDArray[np.float32]

    def __eq__(self, other: object) -> bool:
        # The one that dataclass writes asks an array for its truth.
        if not isinstance(other, Golden):
            return NotImplemented
        return (
            self.replication == other.replication and np.array_equal(self.pixels, other.pixels)
            and np.array_equal(self.output, other.output, equal_nan=True)
        )

    @classmethod
    def reduce(cls, image: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint8], int]:
        """Keep every n-th pixel of `image` (uint8 [H, W, 3]), with the smallest n that fits `GOLDEN_BYTES`."""
        replication = 1
        while image[::replication, ::replication].size > GOLDEN_BYTES:
            replication += 1
        return np.ascontiguousarray(image[::replication, ::replication]), replication

    def input(self, input_size: tuple[int, int]) -> npt.NDArray[np.uint8]:
        """The golden input, uint8 [H, W, 3]."""
        return expand(self.pixels, self.replication, input_size)

    def to_mapping(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "shape": list(self.pixels.shape),
            "replication": self.replication,
            "pixels_zlib_base64": base64.b64encode(zlib.compress(self.pixels.tobytes(), 9)).decode(),
            "output": [float(number) for number in self.output],
        }

    @classmethod
    def from_mapping(cls, mapping: object, input_size: tuple[int, int]) -> Golden:
        """Read what `to_mapping` gave; nothing becomes larger than what `reduce` makes of an input of (height, width).

        Raises
        ------
        KeyError, ValueError, zlib.error
            If it is something else.
        """
        found = mapped(mapping, "golden")
        replication = whole_number(found["replication"], "golden.replication", least=1)
        shape = [whole_number(size, "golden.shape", least=1) for size in listed(found["shape"], "golden.shape")]
        expected = [*(-(-size // replication) for size in input_size), 3]
        bytes_expected = expected[0] * expected[1] * expected[2]
        if shape != expected or bytes_expected > GOLDEN_BYTES:
            raise ValueError(
                f"golden.shape: expected {expected}, an input of {list(input_size)} at a replication of {replication}, in at "
                f"most {GOLDEN_BYTES} bytes; got {shape}"
            )
        decoder = zlib.decompressobj()
        coded = base64.b64decode(text(found["pixels_zlib_base64"], "golden.pixels"), validate=True)
        pixels = decoder.decompress(coded, bytes_expected + 1)
        if len(pixels) != bytes_expected or not decoder.eof:
            raise ValueError(f"golden.pixels: expected {bytes_expected} bytes; got {'others' if decoder.eof else 'more'}")
        numbers = [finite_number(number, "golden.output") for number in listed(found["output"], "golden.output")]
        with np.errstate(over="ignore"):
            output = np.asarray(numbers, np.float32)
        if not np.isfinite(output).all():
            raise ValueError("golden.output: expected numbers of float32; got larger ones")
        return cls(np.frombuffer(pixels, np.uint8).reshape(shape), replication, output)


def expand(pixels: npt.NDArray[np.uint8], replication: int, input_size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Repeat each pixel and cut to (height, width) `input_size`."""
    rows, columns = (np.arange(size) // replication for size in input_size)
    expanded: npt.NDArray[np.uint8] = pixels[rows[:, np.newaxis], columns]
    return expanded
