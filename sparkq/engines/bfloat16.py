"""``bfloat16``: a float artifact (``recipe: none``) with its products in bfloat16, for CPUs with AMX or bf16 instructions."""
from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from sparkq.engines.base import LoadOptions
from sparkq.engines.torchscript import TorchScriptEngine

__all__ = ["load_bfloat16"]


class _BFloat16Engine(TorchScriptEngine):
    # Autocast, not converted weights: the normalization and whatever torch holds to need it stay in float32.
    def run(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Run one forward pass: uint8 [N, H, W, 3] RGB to float32 [N, C]."""
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
            output: npt.NDArray[np.float32] = self._module(torch.from_numpy(images)).float().numpy()
        return output


def load_bfloat16(payload: bytes, options: LoadOptions) -> TorchScriptEngine:
    """Load a float payload."""
    return _BFloat16Engine(payload, "bfloat16")
