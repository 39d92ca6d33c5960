"""``x86``: torch's choice, layer by layer, between fbgemm and oneDNN."""
from __future__ import annotations

from sparkq.engines.base import LoadOptions
from sparkq.engines.torchscript import TorchScriptEngine, load_packed

__all__ = ["load_x86"]


def load_x86(payload: bytes, options: LoadOptions) -> TorchScriptEngine:
    """Load an INT8 payload for x86."""
    return load_packed(payload, "x86", "run on x86 nodes with AVX2, or take engine onednn.")
