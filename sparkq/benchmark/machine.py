"""The header of a benchmark: what the figures hold for."""
from __future__ import annotations

import os
from typing import Any

from sparkq.engines.node import available_cores, describe_node, instruction_sets
from sparkq.host import package_version
from sparkq.version import __version__

__all__ = ["describe_machine"]

_PACKAGES = ("torch", "openvino", "pyspark", "pyarrow", "pillow")
_ISA_LIMITS = ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "FBGEMM_NO_AVX512")


def describe_machine() -> dict[str, Any]:
    """CPU model, instruction sets, cores, load, versions, and limits on instruction sets that the environment sets."""
    return {
        "node": describe_node(),
        "isa": list(instruction_sets()),
        "isa_limits": {name: os.environ[name] for name in _ISA_LIMITS if name in os.environ},
        "cores": available_cores(),
        "load_average": round(os.getloadavg()[0], 2),
        "versions": {"sparkq": __version__, **{name: version for name in _PACKAGES if (version := package_version(name))}},
    }
