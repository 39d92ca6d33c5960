"""``fbgemm``: torch's own INT8 kernels for x86 CPUs with AVX2."""
from __future__ import annotations

import torch

from sparkq.engines.torchscript import TorchScriptEngine
from sparkq.errors import EngineError
from sparkq.node import describe_node

__all__ = ["load_fbgemm"]


def load_fbgemm(payload: bytes) -> TorchScriptEngine:
    """Load an INT8 payload for fbgemm.

    Raises
    ------
    EngineError
        If this node's CPU or torch has no fbgemm.
    """
    if "fbgemm" not in torch.backends.quantized.supported_engines:
        raise EngineError(
            f"engine fbgemm on {describe_node()}: expected a CPU with AVX2 and a torch built with fbgemm; torch "
            f"{torch.__version__} offers {', '.join(torch.backends.quantized.supported_engines)}.",
            hint="run on x86 nodes with AVX2.",
        )
    # Weights are packed for the engine that is current while the archive loads. The setting is the process's, so it is
    # put back for whatever else runs here.
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = "fbgemm"
    try:
        return TorchScriptEngine(payload, "fbgemm")
    finally:
        torch.backends.quantized.engine = before
