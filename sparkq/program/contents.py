"""The check of constants that kernels take at their word: rows of tables, and scales of weights."""
from __future__ import annotations

from functools import cache

from sparkq.program.types import Program

__all__ = ["check_contents"]

_WEIGHT = "quantized_decomposed.dequantize_per_channel"
_SCALES = 2.0**-126, 2.0**100
"""What float32 holds with all its digits, and can be multiplied with by integers and other scales."""
_ZERO_POINTS = -256, 255
"""Those of int8, and of what others count as integers of 8 bits; sums of 32 bits hold products with them."""


def check_contents(program: Program) -> None:
    """Check the numbers that a kernel would read beyond its memory for, or could not compute with.

    Parameters
    ----------
    program : Program
        Whose types follow.

    Raises
    ------
    ValueError
        With one clause that says which node is wrong, and what was expected.
    """
    types = program.types()

    # Thousands of nodes may read one large constant.
    @cache
    def bounds(name: str) -> tuple[float, float]:
        array = program.constants[name]
        return array.min().item(), array.max().item()

    def lie(name: object, least: float, most: float) -> bool:
        # NaN is not in any bounds.
        return name in program.constants and least <= bounds(str(name))[0] and bounds(str(name))[1] <= most

    for node in program.nodes:
        if node.operator == "aten.index_select":
            rows = types[str(node.inputs[0])].shape[node.attribute("dim")]
            if not lie(node.inputs[1], 0, rows - 1):
                raise ValueError(f"node {node.name}: expected a constant index of rows below {rows}")
        elif node.operator == _WEIGHT:
            weight, scales, zero_points = node.inputs
            if weight not in program.constants or not lie(scales, *_SCALES) or not lie(zero_points, *_ZERO_POINTS):
                raise ValueError(
                    f"node {node.name}: expected constants: weights, scales above zero that float32 holds, and zero points from "
                    f"{_ZERO_POINTS[0]} to {_ZERO_POINTS[1]}",
                )
