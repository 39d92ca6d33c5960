"""Programs of one operator whose inputs depend on the images, so that no compiler computes the operator beforehand."""
from __future__ import annotations

from dataclasses import replace

from sparkq.program.types import Argument, Node, Program, ValueType

__all__ = ["live"]

# Of others, every input may depend on the images.
_ONLY_THE_FIRST = (
    "batch_norm", "conv2d", "conv_transpose2d", "group_norm", "index_select", "layer_norm", "linear", "rms_norm",
)


def live(program: Program) -> Program:
    """A program of `tests.program.samples.one_operator`, its operator's inputs added to a zero computed from one image."""
    zero = Node("zero", "aten.view", ("one",), {}, ValueType("float32", (1,)))
    result = program.nodes[0]
    before: list[Node] = []
    names: list[Argument] = []
    for index, given in enumerate(result.inputs):
        is_live = isinstance(given, str) and (index == 0 or result.operator.partition(".")[2] not in _ONLY_THE_FIRST)
        names.append(_live_input(str(given), program, before) if is_live else given)
    others = {node.name: node for node in program.nodes[1:]}
    pixels = [others.pop(name) for name in ("pixels", "values", "nothing", "one")]
    return replace(program, nodes=(*pixels, zero, *before, replace(result, inputs=tuple(names)), *others.values()))


def _live_input(name: str, program: Program, nodes: list[Node]) -> str:
    """Add nodes that give a constant's numbers anew; the name of the last of them."""
    kind = program.types()[name]
    real = ValueType("float32", kind.shape)
    if kind.dtype == "float32":
        nodes.append(Node(f"{name}.live", "aten.add", (name, "zero"), {}, real))
    elif kind.dtype == "bool":
        nodes.append(Node(f"{name}.some", "aten.ne", ("zero", 0.0), {}, ValueType("bool", (1,))))
        nodes.append(Node(f"{name}.live", "aten.logical_or", (name, f"{name}.some"), {}, kind))
    elif kind.dtype == "uint8":
        whole = {"scale": 1.0, "zero_point": 0, "quant_min": 0, "quant_max": 255}
        nodes.append(Node(f"{name}.real", "aten._to_copy", (name,), {}, real))
        nodes.append(Node(f"{name}.sum", "aten.add", (f"{name}.real", "zero"), {}, real))
        nodes.append(Node(f"{name}.live", "quantized_decomposed.quantize_per_tensor", (f"{name}.sum",), whole, kind))
    else:
        return name
    return nodes[-1].name
