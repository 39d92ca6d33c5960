"""Fences against OpenVINO's low-precision transformations, where they would compute something else than the program does.

They carry 8-bit integers through operators, and are not exact in all of them. They do not pass an operator that they do not know:
a maximum with the smallest number, which changes nothing.
"""
from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from sparkq.engines.openvino_graph.call import Call, Value, number
from sparkq.engines.openvino_graph.library import ops

__all__ = ["fenced", "fenced_inputs", "fenced_result"]

_QUANTIZE = "quantized_decomposed.quantize_per_tensor"
_LAYERS = ("conv2d", "conv_transpose2d", "linear", "matmul")
_AVERAGES = ("adaptive_avg_pool2d", "avg_pool2d")


def fenced(value: Value) -> Value:
    """Return a value of which OpenVINO does not know that its numbers are integers times a scale."""
    return replace(value, output=_unknown(value.output))


def fenced_inputs(call: Call) -> Call:
    """Return a call whose inputs are fenced where that is needed.

    Limits are rounded to integers; averages are, too, and concatenated values are brought to one grid, unless the program rounds
    them next.
    """
    operator = call.node.operator.partition(".")[2]
    values = [given for given in call.inputs if isinstance(given, Value)]
    rounded_next = all(reader.operator == _QUANTIZE for reader in call.readers)
    grids = {value.grid for value in values}
    if operator == "clamp" or not rounded_next and (operator in _AVERAGES or operator == "cat" and len(grids) > 1):
        return replace(call, inputs=tuple(fenced(value) if value.grid is not None else value for value in values))
    return call


def fenced_result(result: Any, call: Call) -> Any:
    """Fence a result where that is needed: scales of INT8 layers are applied twice for several readers of unknown batch size."""
    is_int8 = call.node.operator.partition(".")[2] in _LAYERS and call.value(1).decoded is not None
    return _unknown(result) if is_int8 and len(call.readers) > 1 else result


def _unknown(output: Any) -> Any:
    return ops.maximum(output, number(np.finfo(np.float32).min))
