"""Batch norms folded into the convolution or linear layer in front of them: one operator less, the same function."""
from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from sparkq.program.types import Array, Node, Program

__all__ = ["fold_batch_norms"]

_LAYERS = ("aten.conv2d", "aten.linear")


def fold_batch_norms(program: Program) -> Program:
    """Fold every batch norm that is alone behind a convolution or linear layer with weights that are constants.

    With ``a = weight / sqrt(var + eps)`` the layer's weights become ``a * W`` and its bias ``a * (b - mean) + bias``, computed in
    double precision (Jacob et al. 2018, section 3.2).
    """
    nodes = {node.name: node for node in program.nodes}
    readers = program.readers()
    constants = dict(program.constants)
    renamed: dict[str, str] = {}
    taken = set(program.types())
    for norm in program.nodes:
        layer = nodes.get(str(norm.inputs[0])) if norm.operator == "aten.batch_norm" else None
        if layer is None or layer.operator not in _LAYERS or len(readers[layer.name]) != 1 or layer.name == program.output:
            continue
        parameters = [*layer.inputs[1:], *norm.inputs[1:]]
        if any(name is not None and name not in program.constants for name in parameters):
            continue
        # Of more dimensions a linear layer's channels are the last, while a batch norm's are the second.
        if layer.operator == "aten.linear" and len(norm.type.shape) != 2:
            continue
        nodes[layer.name] = _folded(layer, norm, constants, taken)
        renamed[norm.name] = layer.name
    if not renamed:
        return program
    kept = [
        replace(node, inputs=tuple(renamed.get(given, given) if isinstance(given, str) else given for given in node.inputs))
        for node in nodes.values() if node.name not in renamed
    ]
    read = {name for node in kept for name in node.values}
    return replace(
        program, nodes=tuple(kept), constants={name: array for name, array in constants.items() if name in read},
        output=renamed.get(program.output, program.output),
    )


def _folded(layer: Node, norm: Node, constants: dict[str, Array], taken: set[str]) -> Node:
    def parameter(node: Node, index: int, default: float) -> npt.NDArray[np.float64]:
        name = node.inputs[index]
        return np.full(norm.type.shape[1], default) if name is None else constants[str(name)].astype(np.float64)

    weight = constants[str(layer.inputs[1])].astype(np.float64)
    factor = parameter(norm, 1, 1.0) / np.sqrt(parameter(norm, 4, 1.0) + norm.attribute("eps"))
    bias = (parameter(layer, 2, 0.0) - parameter(norm, 3, 0.0)) * factor + parameter(norm, 2, 0.0)
    names = tuple(_free(f"{norm.name}.folded.{part}", taken) for part in ("weight", "bias"))
    constants[names[0]] = (weight * factor.reshape(-1, *[1] * (weight.ndim - 1))).astype(np.float32)
    constants[names[1]] = bias.astype(np.float32)
    return replace(layer, inputs=(layer.inputs[0], *names))


def _free(name: str, taken: set[str]) -> str:
    """Return a name that no value has, and take it."""
    while name in taken:
        name += "~"
    taken.add(name)
    return name
