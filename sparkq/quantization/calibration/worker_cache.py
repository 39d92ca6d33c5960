"""One observed model a Python worker: that of the calibration pass that runs. A module of its own, as `predictor_cache` is."""
from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from sparkq.quantization.calibration.observed_model import Run
from sparkq.quantization.calibration.observed_program import load_observed

__all__ = ["cached_observed_model"]


@dataclass
class _Cached:
    sha256: str = ""
    run: Run | None = None


_cached = _Cached()
_lock = threading.Lock()


def cached_observed_model(sha256: str, load: Callable[[], bytes]) -> Run:
    """The worker's observed model; `load` gives its archive and is called only when the worker holds another or none.

    Parameters
    ----------
    sha256 : str
        Of the archive.
    load : callable
        Reads the broadcast.
    """
    with _lock:
        if _cached.run is None or _cached.sha256 != sha256:
            _cached.run = None  # the old one goes before the new one comes
            _cached.run, _cached.sha256 = load_observed(load()), sha256
        return _cached.run
