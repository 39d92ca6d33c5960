"""What the engines inside torch have in common: load an archive, run it."""
from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sparkq.errors import EngineError
from sparkq.node import describe_node

__all__ = ["TorchScriptEngine", "load_packed"]


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


def load_packed(payload: bytes, name: str, hint: str) -> TorchScriptEngine:
    """Load an INT8 payload with its weights packed for one of torch's own engines.

    Raises
    ------
    EngineError
        If this node's CPU or torch does not offer it; `hint` says what would.
    """
    if name not in torch.backends.quantized.supported_engines:
        raise EngineError(
            f"engine {name} on {describe_node()}: expected a CPU and a torch that offer it; torch {torch.__version__} offers "
            f"{', '.join(torch.backends.quantized.supported_engines)}.",
            hint=hint,
        )
    # Weights are packed for the engine that is current while the archive loads, and each call then runs what was packed.
    # The setting is the process's, so it is put back for whatever else runs here.
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = name
    try:
        return TorchScriptEngine(payload, name)
    finally:
        torch.backends.quantized.engine = before
