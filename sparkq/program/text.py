"""Programs as text: a node a line, with what it computes in, its type and its share of the work."""
from __future__ import annotations

from sparkq.program.types import Attribute, Node, Program
from sparkq.program.work import integer_nodes, multiply_accumulates

__all__ = ["program_text"]

_QUANTIZE = "quantized_decomposed.quantize_per_tensor"
_HEAD = ("value", "operator", "of", "in", "type", "MACs")


def program_text(program: Program) -> str:
    """Return a program as a table that people read.

    A layer of integers is one line, with the ReLU behind it and the scale and zero point that its result is rounded to. What
    dequantizes has no line: the values that it reads are named instead.
    """
    work = multiply_accumulates(program)
    total = sum(work.values()) or 1
    lines, integers = _Lines(program), integer_nodes(program)
    rows = [_HEAD]
    for node in program.nodes:
        if node.name in lines.owners or node.operator.startswith("quantized_decomposed.dequantize"):
            continue
        share = f"{100 * work[node.name] / total:.1f} %" if node.name in work else ""
        sources = ", ".join(lines.source(given) for given in node.inputs if given is not None and given not in lines.stored)
        relu, rounding = lines.behind(node)
        scale = "" if rounding is None else (
            f" -> uint8, scale {rounding.attribute('scale'):.6g}, zero point {rounding.attribute('zero_point')}"
        )
        rows.append((
            node.name, f"{_called(node)}{' + relu' if relu else ''}", sources,
            _computed_in(node, integers), f"{node.type}{scale}", share,
        ))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    stored = sum(array.nbytes for array in program.constants.values())
    return "\n".join([
        *table,
        f"{len(program.nodes)} nodes, {sum(work.values()) / 1e6:.1f} million multiply-accumulates an image, "
        f"{100 * sum(work.get(name, 0) for name in integers) / total:.1f} % of them in INT8; {stored / 1e6:.2f} MB of constants",
    ])


class _Lines:
    """Which nodes stand in the line of another: ReLUs and roundings that alone read it."""

    def __init__(self, program: Program) -> None:
        self._nodes = {node.name: node for node in program.nodes}
        self._readers = program.readers()
        self.owners: dict[str, str] = {}
        # Weights and what dequantizes them: a line says what comes in, and its name which layer it is.
        self.stored = {*program.constants, *(
            node.name for node in program.nodes
            if node.operator == "quantized_decomposed.dequantize_per_channel" and node.inputs[0] in program.constants
        )}
        for node in program.nodes:
            if node.name not in self.owners:
                self.owners.update({behind.name: node.name for behind in self.behind(node) if behind is not None})

    def behind(self, node: Node) -> tuple[Node | None, Node | None]:
        """Return the ReLU and the rounding behind a node."""
        after = self._alone(node)
        relu = after if after is not None and after.operator == "aten.relu" and node.operator != "aten.relu" else None
        after = after if relu is None else self._alone(relu)
        return relu, after if after is not None and after.operator == _QUANTIZE and node.operator != _QUANTIZE else None

    def _alone(self, node: Node) -> Node | None:
        found = self._readers[node.name]
        return found[0] if len(found) == 1 else None

    def source(self, given: object) -> str:
        """Name of a value by the line that it stands in."""
        name = str(given)
        while name in self._nodes:
            if name in self.owners:
                name = self.owners[name]
            elif self._nodes[name].operator.startswith("quantized_decomposed.dequantize"):
                name = str(self._nodes[name].inputs[0])
            else:
                break
        return name


def _computed_in(node: Node, integers: frozenset[str]) -> str:
    if node.name in integers:
        return "INT8"
    # Pixels and truth values that are only moved are neither.
    return "float" if node.type.dtype == "float32" else ""


def _called(node: Node) -> str:
    shown = ", ".join(f"{key}={_plain(key, value)}" for key, value in node.attributes.items() if not _is_usual(key, value))
    return f"{node.operator.partition('.')[2]}{f'({shown})' if shown else ''}"


def _is_usual(key: str, value: Attribute) -> bool:
    """Tell whether an attribute says nothing that a reader would not expect."""
    usual = {
        "ceil_mode": False, "dilation": (1, 1), "groups": 1, "is_causal": False, "keepdim": False, "mode": "constant",
        "output_padding": (0, 0), "padding": (0, 0), "quant_max": 255, "quant_min": 0, "stride": (1, 1),
    }
    return value is None or key in usual and usual[key] == value


def _plain(key: str, value: Attribute) -> str:
    if isinstance(value, tuple):
        return str(list(value)) if key in ("dim", "dims", "pad") else "x".join(map(str, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)
