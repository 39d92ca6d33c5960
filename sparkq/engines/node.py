"""What this machine is, for messages and logs."""
from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import socket
from pathlib import Path

from sparkq.host import cpu_field, cpu_model

__all__ = [
    "available_cores", "cpu_features", "describe_node", "has_vnni", "instruction_sets", "peak_memory_bytes",
    "return_freed_memory",
]

# What the kernels of the engines are chosen by; a CPU names some hundred more.
_DECISIVE = (
    "avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "amx_tile", "asimddp", "i8mm", "bf16",
    "sve", "sve2",
)


def describe_node() -> str:
    """Host name and CPU model, e.g. ``ip-10-0-0-7 (Intel(R) Xeon(R) Platinum 8124M CPU @ 3.00GHz)``."""
    return f"{socket.gethostname()} ({cpu_model()})"


def has_vnni() -> bool:
    """Whether INT8 products are added in 32 bits (AVX-512 VNNI, or any CPU but x86), not in 16 that saturate with 8 bits."""
    return platform.machine() not in ("x86_64", "AMD64") or "avx512_vnni" in cpu_field("flags").split()


def cpu_features() -> str:
    """CPU model and instruction sets, as the kernel lists them: what code compiled here depends on."""
    return f"{cpu_model()} {cpu_field('flags') or cpu_field('Features')}"


def instruction_sets() -> tuple[str, ...]:
    """Those that engines choose their kernels by, as Linux names them."""
    features = set(cpu_features().split())
    return tuple(name for name in _DECISIVE if name in features)


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def return_freed_memory() -> None:
    """Give the operating system what this process has freed; glibc keeps it otherwise. Does nothing on other C libraries."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def peak_memory_bytes() -> int:
    """The most resident memory that this process ever had; 0 where the kernel does not say (not Linux)."""
    try:
        # Not `getrusage`: its figure outlives `exec`, so that a process may report what its parent took.
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)
