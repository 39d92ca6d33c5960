"""Engines ``fbgemm``, ``onednn`` and ``x86`` run INT8 kernels inside torch; x86 is torch's choice between the two by layer."""
from __future__ import annotations

from sparkq.engines.base import LoadOptions
from sparkq.engines.torchscript import TorchScriptEngine, load_packed

__all__ = ["load_fbgemm", "load_onednn", "load_x86"]

_IMAGES_A_PASS = 8
"""fbgemm keeps 32-bit sums of a whole layer: 51 MB for 16 images of ResNet-50. It gains nothing from more images."""


def load_fbgemm(payload: bytes, options: LoadOptions) -> TorchScriptEngine:
    """Load an INT8 payload for fbgemm, torch's own kernels for x86 CPUs with AVX2."""
    return load_packed(payload, "fbgemm", options, images_a_pass=_IMAGES_A_PASS if options.divisible else None)


def load_x86(payload: bytes, options: LoadOptions) -> TorchScriptEngine:
    """Load an INT8 payload for x86, torch's choice of fbgemm or oneDNN for each layer."""
    return load_packed(payload, "x86", options)


def load_onednn(payload: bytes, options: LoadOptions) -> TorchScriptEngine:
    """Load an INT8 payload for oneDNN, which runs on x86 and aarch64."""
    return load_packed(payload, "onednn", options)
