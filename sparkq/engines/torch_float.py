"""Engines ``float32`` and ``bfloat16`` run float artifacts (``recipe: none``) in torch, the latter with bfloat16 products."""
from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from sparkq.engines.base import LoadOptions
from sparkq.engines.torch_graph.engine import TorchEngine
from sparkq.engines.torch_graph.graph import Watch
from sparkq.program.folding import fold_batch_norms
from sparkq.program.storage import loads_program

__all__ = ["load_bfloat16", "load_float32"]


class _BFloat16Engine(TorchEngine):
    # Autocast, not converted weights: the normalization and whatever torch holds to need it stay in float32.
    def run(self, images: npt.NDArray[np.uint8], watch: Watch | None = None) -> npt.NDArray[np.float32]:
        """Run one forward pass: uint8 [N, H, W, 3] RGB to float32 [N, C]."""
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
            output: npt.NDArray[np.float32] = self._graph.run(torch.from_numpy(images), watch).float().numpy()
        return output


def load_float32(payload: bytes, options: LoadOptions) -> TorchEngine:
    """Load a float payload that torch runs in float32, for comparison with INT8."""
    return TorchEngine(fold_batch_norms(loads_program(payload)), "float32", threads=options.threads)


def load_bfloat16(payload: bytes, options: LoadOptions) -> TorchEngine:
    """Load a float payload whose products torch computes in bfloat16."""
    return _BFloat16Engine(fold_batch_norms(loads_program(payload)), "bfloat16", threads=options.threads)
