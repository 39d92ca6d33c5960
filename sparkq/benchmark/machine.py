"""The header of a benchmark names the machine and the software that its figures hold for."""
from __future__ import annotations

import os
from typing import Any

from sparkq.engines.node import available_cores, describe_node, installed_versions, instruction_sets, kernel_limits
from sparkq.engines.registry import engine_packages
from sparkq.version import __version__

__all__ = ["describe_machine"]


def describe_machine() -> dict[str, Any]:
    """Return CPU model, instruction sets, cores, load, versions, and limits on instruction sets that the environment sets."""
    return {
        "node": describe_node(),
        "isa": list(instruction_sets()),
        "isa_limits": kernel_limits(),
        "cores": available_cores(),
        "load_average": round(os.getloadavg()[0], 2),
        "versions": {"sparkq": __version__, **installed_versions(("torch", *engine_packages(), "pyspark", "pyarrow", "pillow"))},
    }
