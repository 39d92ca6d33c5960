"""The gate: recipes are tried until one is as accurate as asked, or none is written."""
from __future__ import annotations

from sparkq.quantization.gate.measured import Measured, drop_error
from sparkq.quantization.gate.measuring import measure_pixels, split_held_out
from sparkq.quantization.gate.table import gate_rows, gate_table
from sparkq.quantization.gate.target import MOST_IMAGES, GateAttempt, GateTarget
from sparkq.quantization.gate.walk import chosen_attempt, pass_gate, techniques

__all__ = [
    "MOST_IMAGES", "GateAttempt", "GateTarget", "Measured", "chosen_attempt", "drop_error", "gate_rows", "gate_table",
    "measure_pixels", "pass_gate", "split_held_out", "techniques",
]
