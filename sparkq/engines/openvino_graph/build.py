"""`openvino_model`: from a program to a model of OpenVINO."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from sparkq.engines.openvino_graph.call import Call, Converter, Sizes, Unsupported, Value
from sparkq.engines.openvino_graph.fences import fenced_inputs, fenced_result
from sparkq.engines.openvino_graph.grids import as_integers, grid_behind, on_one_grid
from sparkq.engines.openvino_graph.layers import LAYERS
from sparkq.engines.openvino_graph.library import openvino, ops
from sparkq.engines.openvino_graph.moves import MOVES
from sparkq.engines.openvino_graph.planes import PLANES
from sparkq.engines.openvino_graph.pointwise import POINTWISE
from sparkq.engines.openvino_graph.quantized import QUANTIZED
from sparkq.engines.openvino_graph.reductions import REDUCTIONS
from sparkq.engines.openvino_graph.roundings import keep_roundings
from sparkq.errors import EngineError
from sparkq.program.types import INPUT, Array, Node, Program

__all__ = ["CONVERTED", "openvino_model"]

_CONVERTERS: dict[str, Converter] = {
    f"aten.{name}": converter for name, converter in {**POINTWISE, **REDUCTIONS, **LAYERS, **PLANES, **MOVES}.items()
}
_QUANTIZED = {f"quantized_decomposed.{name}": converter for name, converter in QUANTIZED.items()}

# They neither add nor drop values.
_WHOLE_MOVES = ("aten.flip", "aten.permute", "aten.view")

CONVERTED = frozenset({*_CONVERTERS, *_QUANTIZED})
"""The operators that can be part of a model."""


class _Writable:
    """An array as one that can be written: the library asks for that, although it only reads its constants."""

    def __init__(self, array: Array) -> None:
        self._array = array
        self.__array_interface__ = {**array.__array_interface__, "data": (array.__array_interface__["data"][0], False)}


class _Builder:
    """The values of a program in OpenVINO's graph, as far as they were built."""

    def __init__(self, program: Program, batch_size: int | None) -> None:
        shape = [-1 if batch_size is None else batch_size, *program.input.shape[1:]]
        self.images = ops.parameter(shape, np.uint8, name=INPUT)
        self.images.output(0).set_names({INPUT})
        self._constants = program.constants
        self._types = program.types()
        self._readers = program.readers()
        self._sizes = Sizes(self.images, batch_size)
        self._values = {INPUT: Value(self.images)}

    def value(self, name: str) -> Value:
        """Return a value that was built, or a constant."""
        if name not in self._values:
            array = self._constants[name]
            # Memory is shared where the library takes it: weights are there once, not twice.
            is_shared = array.flags.c_contiguous and array.size > 0 and array.ndim > 0
            given = np.asarray(_Writable(array)) if is_shared else array
            self._values[name] = Value(ops.constant(given, name=name, shared_memory=is_shared), array=array)
        return self._values[name]

    def add(self, node: Node) -> None:
        """Build the value of a node."""
        try:
            self._values[node.name] = _converted(Call(
                node, tuple(self.value(given) if isinstance(given, str) else given for given in node.inputs),
                tuple(self._types[given] if isinstance(given, str) else None for given in node.inputs), self._sizes,
                tuple(self._readers[node.name]),
            ))
        except (Unsupported, RuntimeError, ArithmeticError) as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            raise EngineError(
                f"engine openvino: node {node.name}: expected an operator that OpenVINO has; got {node.operator} with "
                f"{dict(node.attributes)} ({lines[-1] if lines else type(error).__name__}).",
                hint="take another engine.",
            ) from error


def _converted(call: Call) -> Value:
    name = call.node.operator
    if name in _QUANTIZED:
        found = _QUANTIZED[name](call)
    elif name in _CONVERTERS:
        if name == "aten._to_copy" and call.type().dtype == "uint8":
            call = replace(call, inputs=(as_integers(call.value()),))
        elif name == "aten.cat" and call.type().dtype == "uint8":
            call = on_one_grid(call)
        found = Value(fenced_result(_CONVERTERS[name](fenced_inputs(call)), call), grid_behind(call), moved=_moved(call))
    else:
        raise Unsupported("an operator of another version")
    return found


def _moved(call: Call) -> tuple[Value, Callable[[Value], Any]] | None:
    if call.node.operator not in _WHOLE_MOVES:
        return None
    converter = _CONVERTERS[call.node.operator]
    return call.value(), lambda value: converter(replace(call, inputs=(value,)))


def openvino_model(program: Program, batch_size: int | None) -> Any:
    """Build a program in OpenVINO's graph, in the form that its compiler makes INT8 kernels of.

    Parameters
    ----------
    program : Program
        Checked. The model shares the memory of its constants.
    batch_size : int, optional
        Number of images N that the model takes at once. None: any number.

    Returns
    -------
    openvino.Model
        uint8 [N, H, W, 3], named as the program's input, to float32 [N, C], named as its output.

    Raises
    ------
    EngineError
        If OpenVINO has no node for an operator or for its attributes.
    """
    builder = _Builder(program, batch_size)
    for node in program:
        builder.add(node)
    result = ops.result(builder.value(program.output).output)
    result.output(0).set_names({program.output})
    model = openvino.Model([result], [builder.images], "program")
    keep_roundings(model)
    return model
