"""The protocol that every engine keeps, and the options that its loader takes beside the payload."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["DEFAULT_BATCH_SIZE", "Engine", "LoadOptions"]

DEFAULT_BATCH_SIZE = 16


class Engine(Protocol):
    """A loaded payload that predicts.

    Attributes
    ----------
    name : str
        Its name in `sparkq.engines.registry`, for the rows.
    """

    name: str

    def run(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Run one forward pass: uint8 [N, H, W, 3] RGB to float32 [N, C]."""
        ...  # pragma: no cover


@dataclass(frozen=True)
class LoadOptions:
    """How a payload will be run. Engines inside torch take batches of any size.

    Parameters
    ----------
    input_size : tuple of int
        Height and width of the input.
    batch_size : int
        Images a forward pass, for engines that are compiled for one size.
    threads : int, optional
        Threads of a pass. Inside torch they are the whole process's, for all engines there; None leaves torch's as they are, and
        takes as many elsewhere.
    divisible : bool
        Whether a batch may be run in parts. Not with layers in float, whose kernels are chosen by the batch's shape.
    """

    input_size: tuple[int, int]
    batch_size: int = DEFAULT_BATCH_SIZE
    threads: int | None = None
    divisible: bool = False
