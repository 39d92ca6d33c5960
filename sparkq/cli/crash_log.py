"""The log file of an unexpected error: what its reader needs to see the error happen again."""
from __future__ import annotations

import os
import platform
import shutil
import tempfile
import traceback
from pathlib import Path

from sparkq.engines.registry import engine_packages
from sparkq.host import cpu_model, package_version
from sparkq.redaction import shown
from sparkq.version import __version__
from sparkq.visible import visible

__all__ = ["write_crash_log"]

_PACKAGES = ("torch", *engine_packages(), "pyspark", "pyarrow", "numpy", "pandas", "pillow")

_REPORT = (
    "This is a fault of sparkq, not of your images or your machine. Please report it, with this file, where you got sparkq from."
)


def write_crash_log() -> str:
    """Write the traceback of the error that is handled, with versions and where to report it, to a file; return its path."""
    with tempfile.NamedTemporaryFile("w", prefix="sparkq-", suffix=".log", delete=False, encoding="utf-8") as log:
        log.write(f"{_REPORT}\n\n")
        log.writelines(f"{name + ':':<10}{value}\n" for name, value in _circumstances().items())
        log.write("\n")
        log.write(visible(shown(traceback.format_exc())))
    return log.name


def _circumstances() -> dict[str, str]:
    versions = {package: package_version(package) or "not installed" for package in _PACKAGES}
    return {
        "sparkq": __version__, "Python": platform.python_version(), **versions,
        "OS": platform.platform(), "CPU": f"{cpu_model()}, {os.cpu_count()} cores", "Java": _java(),
    }


def _java() -> str:
    """Version of the Java that Spark would start, from the file beside it: starting it takes time, and may be what failed."""
    home = os.environ.get("JAVA_HOME")
    java = os.path.join(home, "bin", "java") if home else shutil.which("java")
    if java is None:
        return "none found"
    try:
        lines = (Path(java).resolve().parent.parent / "release").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    version = next((line.partition("=")[2].strip('"') for line in lines if line.startswith("JAVA_VERSION=")), "unknown version")
    return f"{version} ({java})"
