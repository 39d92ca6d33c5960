"""From a program to the steps that torch runs: what is needed, and which three nodes one INT8 kernel computes."""
from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sparkq.engines.torch_graph.float_kernels import FLOAT_KERNELS, IN_PLACE_KERNELS, READS_IMAGES, Kernel
from sparkq.engines.torch_graph.int8_kernels import INT8_KERNELS, KEEPING, Fused, packed_weight, real_weight
from sparkq.engines.torch_graph.sums import exact_linear, onednn_layer
from sparkq.errors import EngineError, last_line
from sparkq.program.types import INPUT, Node, Program

__all__ = ["Step", "lower"]

_QUANTIZE = "quantized_decomposed.quantize_per_tensor"
_DEQUANTIZE = "quantized_decomposed.dequantize_per_tensor"
_WEIGHT = "quantized_decomposed.dequantize_per_channel"
# Their results have the range of what they take, or one that is fixed.
_HANDED_ON = (*KEEPING, "aten.cat", "aten.hardsigmoid")
_LAYERS = ("aten.conv2d", "aten.conv_transpose2d", "aten.linear")


@dataclass(frozen=True)
class Step:
    """One kernel call.

    Parameters
    ----------
    name : str
        Of the value that it gives.
    inputs : tuple of str
        Values and constants that it takes, in the kernel's order.
    kernel : callable
        Of torch tensors.
    operator : str
        What it computes, for messages: the float operator's name.
    own_range : (float, int), optional
        Scale and zero point of a quantized result that has not just those of what it takes.
    """

    name: str
    inputs: tuple[str, ...]
    kernel: Kernel
    operator: str
    own_range: tuple[float, int] | None = None


class _Lowering:
    def __init__(self, program: Program, wanted: Collection[str], *, plain: bool) -> None:
        self.program, self.wanted, self.plain = program, wanted, plain
        self.nodes = {node.name: node for node in program.nodes}
        self.readers, self.types = program.readers(), program.types()

    def steps(self) -> list[Step]:
        """Build the steps that lead to what is wanted, each before those that read it."""
        wanted, found = set(self.wanted), list[Step]()
        for node in reversed(self.program.nodes):
            if node.name in wanted:
                step = self._built(node)
                wanted.update(step.inputs)
                found.append(step)
        return found[::-1]

    def _built(self, node: Node) -> Step:
        try:
            return self._step(node)
        # torch's kernels check what they pack.
        except RuntimeError as error:
            raise EngineError(
                f"node {node.name}: expected numbers that torch's kernels take; got {last_line(error)}.",
                hint="take another engine, or quantize the model again.",
            ) from error

    def _step(self, node: Node) -> Step:
        if node.operator == _QUANTIZE:
            fused = self._plain_layer(node) if self.plain else self._fused(node) if self._is_packed(node.name) else None
            return fused or self._rounding(node)
        if node.operator == _DEQUANTIZE:
            return Step(node.name, node.values, self._real(node), node.operator)
        if node.operator == _WEIGHT:
            weight = real_weight(self.program.constants, node)
            return Step(node.name, (), lambda: weight, node.operator)
        return self._sums(node) or self._floating(node)

    def _floating(self, node: Node) -> Step:
        try:
            kernel = FLOAT_KERNELS[node.operator](node)
        except (KeyError, ValueError) as error:
            raise EngineError(
                f"node {node.name}: expected an operator that torch's engines run; got {node.operator} ({error}).",
                hint="take another engine.",
            ) from error
        if self._is_overwritable(node):
            kernel = IN_PLACE_KERNELS[node.operator](node)
        inputs = (INPUT, *node.values) if node.operator in READS_IMAGES else node.values
        return Step(node.name, inputs, kernel, node.operator)

    def _is_overwritable(self, node: Node) -> bool:
        """Tell whether a sum or product may take the place of its first input: new there, as large, and read by nothing else."""
        source = self.nodes.get(str(node.inputs[0])) if node.operator in IN_PLACE_KERNELS else None
        if source is None or source.type != node.type or not self._alone(source):
            return False
        # A cast to what a tensor is already gives the tensor itself.
        is_new = source.operator == "aten._to_copy" and self.types[str(source.inputs[0])].dtype != source.type.dtype
        return is_new or source.operator in IN_PLACE_KERNELS

    def _is_packed(self, name: str) -> bool:
        """Tell whether integers are one of torch's quantized tensors: all readers take them for the same real numbers."""
        node = self.nodes.get(name)
        if self.plain or node is None or node.operator != _QUANTIZE or name in self.wanted or _levels(node) != (0, 255):
            return False
        return all(reader.operator == _DEQUANTIZE and _range(reader) == _range(node) for reader in self.readers[name])

    def _real(self, node: Node) -> Kernel:
        if self._is_packed(str(node.inputs[0])):
            return torch.dequantize
        scale, zero_point = _range(node)
        return lambda x: (x.to(torch.float32) - zero_point) * scale

    def _rounding(self, node: Node) -> Step:
        scale, zero_point = _range(node)
        if self._is_packed(node.name):
            return Step(
                node.name, node.values, lambda x: torch.quantize_per_tensor(x, scale, zero_point, torch.quint8), node.operator,
                (scale, zero_point),
            )
        low, high = _levels(node)
        return Step(
            node.name, node.values, lambda x: torch.clamp(torch.round(x / scale) + zero_point, low, high).to(torch.uint8),
            node.operator,
        )

    def _fused(self, node: Node) -> Step | None:
        """Build one kernel for a rounding and the operator in front, where that reads only integers and is read only here."""
        inner, relu = self._rounded(node)
        if inner is None or inner.operator not in INT8_KERNELS:
            return None
        sources = self._sources(inner)
        if sources is None:
            return None
        scale, zero_point = _range(node)
        ranges = tuple(_range(source) for source in sources)
        constants = self.program.constants
        call = Fused(inner, relu, scale, zero_point, ranges, self._weight(inner), constants)
        kernel = INT8_KERNELS[inner.operator](call)
        if kernel is None:
            return None
        own = None if inner.operator in _HANDED_ON else (scale, zero_point)
        return Step(node.name, tuple(str(source.inputs[0]) for source in sources), kernel, inner.operator, own)

    def _rounded(self, node: Node) -> tuple[Node | None, bool]:
        """Return the operator that alone is rounded by `node`, and whether a ReLU stands between them."""
        inner = self.nodes.get(str(node.inputs[0]))
        relu = False
        if inner is not None and inner.operator == "aten.relu" and self._alone(inner):
            before = self.nodes.get(str(inner.inputs[0]))
            if before is not None and self._alone(before) and before.operator not in (_DEQUANTIZE, "aten.relu"):
                inner, relu = before, True
        return (inner, relu) if inner is not None and self._alone(inner) else (None, False)

    def _plain_layer(self, node: Node) -> Step | None:
        """Build one kernel for a layer and the rounding behind it on plain uint8 tensors: what stays when quantized ones go."""
        inner, relu = self._rounded(node)
        if inner is None or inner.operator not in ("aten.conv2d", "aten.linear") or _levels(node) != (0, 255):
            return None
        weight, source = self._weight_node(inner), self.nodes.get(str(inner.inputs[0]))
        if weight is None or source is None or source.operator != _DEQUANTIZE or not self._are_constants(inner.inputs[2:]):
            return None
        if self.program.constants[str(weight.inputs[2])].any():
            return None
        kernel = onednn_layer(inner, weight, _range(source), self.program.constants, relu=relu, output=_range(node))
        return Step(node.name, source.values, kernel, inner.operator, _range(node))

    def _alone(self, node: Node) -> bool:
        return len(self.readers[node.name]) == 1 and node.name not in self.wanted

    def _sources(self, node: Node) -> list[Node] | None:
        """Return the nodes that dequantize what an operator takes; None if it takes anything else than those and constants."""
        activations = node.values[:1] if node.operator in _LAYERS else node.values
        if node.operator in _LAYERS and (self._weight(node) is None or not self._are_constants(node.inputs[2:])):
            return None
        if node.operator in ("aten.layer_norm", "aten.group_norm", "aten.batch_norm", "aten.index_select"):
            if not self._are_constants(node.inputs[1:]):
                return None
            activations = node.values[:1]
        found = [self.nodes.get(name) for name in activations]
        known = [
            source for source in found
            if source is not None and source.operator == _DEQUANTIZE and self._is_packed(str(source.inputs[0]))
        ]
        return known if known and len(known) == len(found) else None

    def _are_constants(self, names: tuple[Any, ...]) -> bool:
        return all(name is None or name in self.program.constants for name in names)

    def _weight_node(self, node: Node) -> Node | None:
        weight = self.nodes.get(str(node.inputs[1])) if len(node.inputs) > 1 else None
        if weight is None or weight.operator != _WEIGHT:
            return None
        # Kernels read a scale for each output channel, however many there are.
        return weight if node.operator not in ("aten.conv2d", "aten.linear") or weight.attribute("axis") == 0 else None

    def _weight(self, node: Node) -> Tensor | None:
        weight = self._weight_node(node) if node.operator in _LAYERS else None
        return None if weight is None else packed_weight(self.program.constants, weight)

    def _sums(self, node: Node) -> Step | None:
        """Build the kernel of an INT8 layer that answers in float."""
        if node.operator not in ("aten.linear", "aten.conv2d"):
            return None
        weight, source = self._weight_node(node), self.nodes.get(str(node.inputs[0]))
        if weight is None or source is None or source.operator != _DEQUANTIZE:
            return None
        scale, zero_point = _range(source)
        constants = self.program.constants
        if constants[str(weight.inputs[2])].any():
            return None
        if node.inputs[2] is None:
            kernel = onednn_layer(node, weight, (scale, zero_point), constants)
            packed = self._is_packed(str(source.inputs[0]))
            return Step(node.name, source.values, (lambda x: kernel(x.int_repr())) if packed else kernel, node.operator)
        rounding = self.nodes.get(str(source.inputs[0]))
        if node.operator == "aten.linear" and rounding is not None and rounding.operator == _QUANTIZE and self._alone(source):
            kernel = exact_linear(node, weight, scale, zero_point, constants)
            return Step(node.name, rounding.values, kernel, node.operator)
        return None


def _range(node: Node) -> tuple[float, int]:
    return float(node.attribute("scale")), node.attribute("zero_point")


def _levels(node: Node) -> tuple[int, int]:
    return node.attribute("quant_min"), node.attribute("quant_max")


def lower(program: Program, wanted: Collection[str], *, plain: bool = False) -> list[Step]:
    """Build the steps of a program for torch, its INT8 weights packed for the quantized backend that is set.

    Parameters
    ----------
    program : Program
        Checked.
    wanted : collection of str
        Values of nodes that are asked for; what leads to none of them is left out.
    plain : bool
        Keep integers in plain uint8 tensors: convolutions and linear layers run in oneDNN's kernels for those, and what stands
        between them in float. It needs none of torch's quantized dtypes, which are deprecated upstream.

    Raises
    ------
    EngineError
        If torch has no kernel for a node.
    """
    return _Lowering(program, wanted, plain=plain).steps()
