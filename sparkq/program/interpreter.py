"""An interpreter in NumPy, slow and exact: what it computes is the meaning of a program.

Real numbers are computed in double precision, whatever narrower type an engine may take for them. What a layer rounds to 8 bits
is right to about 15 digits, so that the integer is the exact one unless the value lies in the middle between two.
"""
from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sparkq.program.kernels.layers import LAYERS
from sparkq.program.kernels.moves import MOVES, QUANTIZED
from sparkq.program.kernels.planes import PLANES
from sparkq.program.kernels.values import VALUES
from sparkq.program.types import INPUT, Array, Program, ValueType

__all__ = ["KERNELS", "interpret", "interpret_values"]

KERNELS = {
    **{f"aten.{name}": build for name, build in {**VALUES, **LAYERS, **PLANES, **MOVES}.items()},
    **{f"quantized_decomposed.{name}": build for name, build in QUANTIZED.items()},
}
"""By operator, from a node, whose sizes are those for the number of images at hand, to the function of its arrays."""


def interpret(program: Program, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Compute a program's answer.

    Parameters
    ----------
    program : Program
        Checked.
    images : ndarray of uint8 [N, H, W, 3]
        RGB.

    Returns
    -------
    ndarray of float32 [N, C]
        Computed in float64 and narrowed last.
    """
    return interpret_values(program, images, [program.output])[program.output].astype(np.float32)


def interpret_values(program: Program, images: npt.NDArray[np.uint8], names: Collection[str]) -> dict[str, Array]:
    """Compute chosen values of a program's nodes.

    Parameters
    ----------
    program : Program
        Checked.
    images : ndarray of uint8 [N, H, W, 3]
        RGB.
    names : collection of str
        Of values of nodes.

    Returns
    -------
    dict of str to ndarray
        uint8 for integers, bool, and float64 for what the program calls float32.
    """
    values: dict[str, Any] = {INPUT: images}
    for name, array in program.constants.items():
        values[name] = array.astype(np.float64) if array.dtype == np.float32 else array
    freed, wanted = program.last_reads(), set(names)
    found: dict[str, Array] = {}
    with np.errstate(all="ignore"):
        for node in program.nodes:
            given = [values[argument] if isinstance(argument, str) else argument for argument in node.inputs]
            sized = replace(node, type=ValueType(node.type.dtype, node.type.sizes(len(images))))
            values[node.name] = KERNELS[node.operator](sized)(*given)
            if node.name in wanted:
                found[node.name] = values[node.name]
            for name in freed[node.name]:
                values.pop(name, None)
    return found
