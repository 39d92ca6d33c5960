"""``fbgemm``: torch's own INT8 kernels for x86 CPUs with AVX2."""
from __future__ import annotations

from sparkq.engines.base import LoadOptions
from sparkq.engines.torchscript import TorchScriptEngine, load_packed

__all__ = ["load_fbgemm"]

_IMAGES_A_PASS = 8
"""fbgemm keeps 32-bit sums of a whole layer: 51 MB for 16 images of ResNet-50. It gains nothing from more images."""


def load_fbgemm(payload: bytes, options: LoadOptions) -> TorchScriptEngine:
    """Load an INT8 payload for fbgemm."""
    return load_packed(
        payload, "fbgemm", "run on x86 nodes with AVX2, or take engine onednn.",
        images_a_pass=_IMAGES_A_PASS if options.divisible else None,
    )
