"""``float32``: a float artifact (``recipe: none``) as torch runs it, for comparison."""
from __future__ import annotations

from sparkq.engines.base import LoadOptions
from sparkq.engines.torchscript import TorchScriptEngine

__all__ = ["load_float32"]


def load_float32(payload: bytes, options: LoadOptions) -> TorchScriptEngine:
    """Load a float payload."""
    return TorchScriptEngine(payload, "float32")
