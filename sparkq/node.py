"""What this machine is, for messages and logs."""
from __future__ import annotations

import platform
import socket
from pathlib import Path

__all__ = ["describe_node"]


def describe_node() -> str:
    """Host name and CPU model, e.g. ``ip-10-0-0-7 (Intel(R) Xeon(R) Platinum 8124M CPU @ 3.00GHz)``."""
    return f"{socket.gethostname()} ({_cpu_model()})"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()
