"""The gate: recipes are tried until one is as accurate as asked, or none is written."""
from __future__ import annotations

from sparkq.gate.measured import Measured, agreement_error, drop_error
from sparkq.gate.measuring import measure_pixels, split_held_out
from sparkq.gate.table import gate_rows, gate_table
from sparkq.gate.target import Attempt, GateTarget
from sparkq.gate.walk import chosen_attempt, pass_gate, techniques

__all__ = [
    "Attempt", "GateTarget", "Measured", "agreement_error", "chosen_attempt", "drop_error", "gate_rows", "gate_table",
    "measure_pixels", "pass_gate", "split_held_out", "techniques",
]
