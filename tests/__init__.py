"""The tests, in folders as the package's own; `tests.ROOT` is the folder of the project."""
from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

HANG_SECONDS = 1800
"""A process or a thread that takes longer hangs; a busy machine alone does not make a test fail."""
