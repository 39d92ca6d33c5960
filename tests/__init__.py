"""The tests, in folders as the package's own; `tests.ROOT` is the folder of the project."""
from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
