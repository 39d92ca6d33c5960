"""The header of a benchmark: what the figures hold for."""
from __future__ import annotations

import importlib.metadata
import os
from typing import Any

from sparkq.node import cpu_features, describe_node
from sparkq.version import __version__

__all__ = ["available_cores", "describe_machine"]

# What the kernels of the engines are chosen by; a CPU names some hundred more.
_DECISIVE = (
    "avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "amx_tile", "asimddp", "i8mm", "bf16",
    "sve", "sve2",
)
_PACKAGES = ("torch", "openvino", "pyspark", "pyarrow", "pillow")
_ISA_LIMITS = ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "FBGEMM_NO_AVX512")


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe_machine() -> dict[str, Any]:
    """CPU model, instruction sets, cores, load, versions, and limits on instruction sets that the environment sets."""
    features = set(cpu_features().split())
    return {
        "node": describe_node(),
        "isa": [name for name in _DECISIVE if name in features],
        "isa_limits": {name: os.environ[name] for name in _ISA_LIMITS if name in os.environ},
        "cores": available_cores(),
        "load_average": round(os.getloadavg()[0], 2),
        "versions": {"sparkq": __version__, **{name: version for name in _PACKAGES if (version := _version(name))}},
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
