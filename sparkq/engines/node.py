"""This machine, for messages, logs and caches: its CPU, memory, installed packages and variables that change kernels."""
from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import re
import socket
import sys
from collections.abc import Iterable
from pathlib import Path

from sparkq.host import cpu_field, cpu_model, package_version

__all__ = [
    "available_cores", "cpu_features", "default_threads", "describe_node", "has_vnni", "installed_versions", "instruction_sets",
    "kernel_limits", "kernel_settings", "peak_memory_bytes", "return_freed_memory",
]

# Engines choose their kernels by these; a CPU names some hundred more.
_DECISIVE = (
    "avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "amx_tile", "asimddp", "i8mm", "bf16",
    "sve", "sve2",
)
_KERNEL_SETTINGS = re.compile(r"(OMP|KMP|GOMP|MKL|DNNL|ONEDNN|ATEN|FBGEMM|OPENBLAS)_\w+|LD_PRELOAD")
_KERNEL_LIMITS = ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "FBGEMM_NO_AVX512")


def describe_node() -> str:
    """Return host name and CPU model, e.g. ``ip-10-0-0-7 (Intel(R) Xeon(R) Platinum 8124M CPU @ 3.00GHz)``."""
    return f"{socket.gethostname()} ({cpu_model()})"


def has_vnni() -> bool:
    """Tell whether INT8 products are added in 32 bits (AVX-512 VNNI, or any CPU but x86), not in 16 that saturate."""
    return platform.machine() not in ("x86_64", "AMD64") or "avx512_vnni" in cpu_field("flags").split()


def cpu_features() -> str:
    """Return CPU model and instruction sets as the kernel lists them: code that is compiled here depends on them."""
    return f"{cpu_model()} {cpu_field('flags') or cpu_field('Features')}"


def instruction_sets() -> tuple[str, ...]:
    """Return the instruction sets of this CPU that engines choose their kernels by, as Linux names them."""
    features = set(cpu_features().split())
    return tuple(name for name in _DECISIVE if name in features)


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_threads() -> int:
    """Return the number of threads that an engine takes if none is given: torch's, where it is loaded; else OpenMP's rule."""
    torch = sys.modules.get("torch")
    if torch is not None:
        return int(torch.get_num_threads())
    told = os.environ.get("OMP_NUM_THREADS", "")
    return int(told) if told.isdecimal() and int(told) else available_cores()


def installed_versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of those of `packages` that are installed here."""
    return {package: version for package in packages if (version := package_version(package)) is not None}


def kernel_settings() -> dict[str, str]:
    """Return the environment variables here that set threads or kernels of engines."""
    return {name: value for name, value in sorted(os.environ.items()) if _KERNEL_SETTINGS.fullmatch(name)}


def kernel_limits() -> dict[str, str]:
    """Return the environment variables here that keep engines from instruction sets which the CPU has."""
    return {name: os.environ[name] for name in _KERNEL_LIMITS if name in os.environ}


def return_freed_memory() -> None:
    """Give the operating system what this process has freed; glibc keeps it otherwise. Does nothing on other C libraries."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def peak_memory_bytes() -> int:
    """Return the most resident memory that this process ever had; 0 where the kernel does not say (not Linux)."""
    try:
        # Not `getrusage`: its figure outlives `exec`, so that a process may report what its parent took.
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)
