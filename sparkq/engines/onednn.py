"""``onednn``: oneDNN's INT8 kernels inside torch, on x86 and aarch64."""
from __future__ import annotations

from sparkq.engines.base import LoadOptions
from sparkq.engines.torchscript import TorchScriptEngine, load_packed

__all__ = ["load_onednn"]


def load_onednn(payload: bytes, options: LoadOptions) -> TorchScriptEngine:
    """Load an INT8 payload for oneDNN."""
    return load_packed(payload, "onednn", "install a torch built with oneDNN (mkldnn).")
