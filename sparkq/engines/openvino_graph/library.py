"""OpenVINO's Python package, imported in such a way that the import reports to nobody."""
from __future__ import annotations

import sys

__all__ = ["openvino", "ops"]

_TELEMETRY = "openvino_telemetry"

# Its import reports to a vendor's server from every worker; without that package it does not, and needs nothing of it.
_IS_BLOCKED = _TELEMETRY not in sys.modules
if _IS_BLOCKED:
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
try:
    import openvino
    import openvino.opset15 as ops
finally:
    if _IS_BLOCKED:
        del sys.modules[_TELEMETRY]
