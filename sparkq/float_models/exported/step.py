"""One call of an exported program on its way into a graph."""
from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from sparkq.float_models.exported.program import Call, Ref
from sparkq.float_models.graph_builder import GraphBuilder, UnsupportedError, Value

__all__ = ["AtenStep"]


@dataclass(frozen=True)
class AtenStep:
    """One call on its way into the graph.

    Parameters
    ----------
    builder : GraphBuilder
        What it is added to.
    call : Call
        As the program has it.
    arguments : mapping
        Its arguments with references resolved: to `Value` where they depend on the input, else to tensors and numbers.
    layers : mapping of str to str
        Names of parameters in the graph to their names in the model.
    batches : collection of int
        Batch size that the program was exported for.
    """

    builder: GraphBuilder
    call: Call
    arguments: Mapping[str, Any]
    layers: Mapping[str, str]
    batches: Collection[int]

    def get(self, name: str, default: Any = None) -> Any:
        """An argument."""
        return self.arguments.get(name, default)

    @property
    def input(self) -> Value:
        """The value that the layer is applied to."""
        value = self.get("input", self.get("self"))
        if not isinstance(value, Value):
            raise UnsupportedError("its first argument is a constant")
        return value

    def constant(self, name: str) -> Any:
        """A weight, or None."""
        tensor = self.get(name)
        if isinstance(tensor, Value):
            raise UnsupportedError(f"its {name} depends on the input")
        return tensor

    def name(self, *parameters: str) -> str:
        """The layer's name in the model, if one of its parameters has one; else the node's."""
        for parameter in parameters:
            reference = self.call.arguments.get(parameter)
            layer = self.layers.get(reference.name, "").rpartition(".")[0] if isinstance(reference, Ref) else ""
            if layer:
                return layer
        return self.call.outputs[0]

    def layer(self, module: nn.Module, *parameters: str) -> Value:
        """Add `module` under the name that its parameters have, applied to the input."""
        return self.builder.module(self.name(*parameters), module, self.input)
