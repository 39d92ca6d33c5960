"""Engines ``fbgemm``, ``onednn`` and ``x86`` run INT8 kernels inside torch; x86 is torch's choice between the two by layer."""
from __future__ import annotations

import math

from sparkq.engines.base import LoadOptions
from sparkq.engines.torch_graph.engine import TorchEngine, has_quantized_dtypes, load_packed
from sparkq.program.storage import loads_program
from sparkq.program.types import Program

__all__ = ["load_fbgemm", "load_onednn", "load_x86"]

_SUMS_BYTES = 26 * 2**20
"""fbgemm keeps 32-bit sums of a whole layer: 51 MB for 16 images of ResNet-50. It gains nothing from more than 8 of such."""


def load_fbgemm(payload: bytes, options: LoadOptions) -> TorchEngine:
    """Load an INT8 payload for fbgemm, torch's own kernels for x86 CPUs with AVX2."""
    return load_packed(payload, "fbgemm", options, images_a_pass=_images_a_pass if options.divisible else None)


def _images_a_pass(program: Program) -> int:
    """Number of images whose sums take so much memory in the largest layer."""
    layers = [node.type.sizes(1) for node in program.nodes if node.operator in ("aten.conv2d", "aten.linear")]
    return max(1, _SUMS_BYTES // (4 * max(map(math.prod, layers), default=1)))


def load_x86(payload: bytes, options: LoadOptions) -> TorchEngine:
    """Load an INT8 payload for x86, torch's choice of fbgemm or oneDNN for each layer."""
    return load_packed(payload, "x86", options)


def load_onednn(payload: bytes, options: LoadOptions) -> TorchEngine:
    """Load an INT8 payload for oneDNN, which runs on x86 and aarch64, also in a torch that has no quantized dtypes any more."""
    if not has_quantized_dtypes():
        return TorchEngine(loads_program(payload), "onednn", threads=options.threads, plain=True)
    return load_packed(payload, "onednn", options)
