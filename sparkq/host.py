"""This machine and the software on it, found without importing torch: for messages, keys of caches and crash logs."""
from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path

__all__ = ["cpu_field", "cpu_model", "package_version"]


def cpu_model() -> str:
    """Name of the CPU as the Linux kernel gives it; the architecture where it gives none."""
    return cpu_field("model name") or platform.machine()


def cpu_field(name: str) -> str:
    """Value of a field of the first CPU in ``/proc/cpuinfo``; empty where there is no such field or file."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == name), "")


def package_version(package: str) -> str | None:
    """Version of an installed package, which is not imported; None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
