"""What the engines inside torch have in common: load an archive, run it."""
from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

__all__ = ["TorchScriptEngine"]


class TorchScriptEngine:
    """A TorchScript archive on the CPU.

    Parameters
    ----------
    payload : bytes
        An unfrozen archive; it is frozen here, after weights were packed for the engine that is selected.
    name : str
        Engine name, for the rows.
    """

    def __init__(self, payload: bytes, name: str) -> None:
        self.name = name
        with warnings.catch_warnings():
            # torch.jit is deprecated upstream; the successor will be an engine of its own.
            warnings.simplefilter("ignore", DeprecationWarning)
            module = torch.jit.load(io.BytesIO(payload), map_location="cpu").eval()  # type: ignore[no-untyped-call]
            self._module = torch.jit.freeze(module)

    @property
    def graph(self) -> Any:
        """TorchScript's graph of what `run` executes."""
        return self._module.graph

    def run(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Run one forward pass: uint8 [N, H, W, 3] RGB to float32 [N, C]."""
        with torch.inference_mode():
            output: npt.NDArray[np.float32] = self._module(torch.from_numpy(images)).numpy()
        return output
