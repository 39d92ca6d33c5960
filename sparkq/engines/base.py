"""The protocol of an engine."""
from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["Engine"]


class Engine(Protocol):
    """A loaded payload."""

    name: str

    def run(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Run one forward pass: uint8 [N, H, W, 3] RGB to float32 [N, C]."""
        ...  # pragma: no cover
