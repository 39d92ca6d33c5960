"""The Java that Spark would start: whether there is one, and whether it is new enough."""
from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pyspark

from sparkq.errors import InputError

__all__ = ["require_java"]

_ANSWER_SECONDS = 60


def require_java() -> None:
    """Raise `InputError` unless Spark finds a Java that it runs on. On the driver, before Spark is started."""
    oldest = 17 if int(pyspark.__version__.partition(".")[0]) >= 4 else 8
    java = _java()
    if java is None:
        raise InputError(
            f"Java: expected a Java {oldest} or later for Spark; got none on PATH or in JAVA_HOME.", hint=_how_to_install(oldest),
        )
    version = _version(java)
    if version is not None and _major(version) < oldest:
        raise InputError(
            f"Java: expected a Java {oldest} or later for Spark {pyspark.__version__}; got {version} ({java}).",
            hint=f"point JAVA_HOME at a newer one. {_how_to_install(oldest)}",
        )


def _how_to_install(oldest: int) -> str:
    version = max(oldest, 17)
    return f"Debian and Ubuntu: apt-get install openjdk-{version}-jre-headless; macOS: brew install openjdk@{version}."


def _java() -> str | None:
    """The program that Spark starts: JAVA_HOME's before PATH's."""
    home = os.environ.get("JAVA_HOME")
    if home and os.path.exists(os.path.join(home, "bin", "java")):
        return os.path.join(home, "bin", "java")
    return shutil.which("java")


def _version(java: str) -> str | None:
    """Its version, from the file beside it, as starting it takes time; where there is none, from itself. None if unknown."""
    try:
        told = (Path(java).resolve().parent.parent / "release").read_text(encoding="utf-8")
    except (OSError, ValueError):
        try:
            told = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=_ANSWER_SECONDS).stderr
        except (OSError, ValueError, subprocess.TimeoutExpired):
            return None
    found = re.search(r'(?:JAVA_VERSION=|version )"([\d._]+)', told)
    return None if found is None else found[1]


def _major(version: str) -> int:
    """The number that Java goes by: 8 of 1.8.0_392, 17 of 17.0.15."""
    first, _, rest = version.partition(".")
    return int(re.split(r"[._]", rest)[0] or 0) if first == "1" and rest else int(re.split(r"\D", first)[0] or 0)
