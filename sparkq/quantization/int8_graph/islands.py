"""Islands: nodes that stand only between float layers stay in float as well.

- A layer that stays in float takes and gives float32. torch would still round the additions and pools between two such layers to
  8 bits, which costs accuracy and time and gains nothing.
- A call that reads from nothing but float layers becomes a `FloatCall`, which torch's quantization does not look into.
"""
from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx, nn
from torch.fx.node import map_aggregate

from sparkq.quantization.graph_edits import finish, module_instead

__all__ = ["LAYERS", "FloatCall", "float_call", "keep_islands_in_float"]

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.Linear)


@dataclass(frozen=True)
class _Slot:
    """The place of a tensor among the arguments of a call."""

    index: int


class FloatCall(nn.Module):
    """A function or method call as a module that torch's quantization does not look into.

    Parameters
    ----------
    node : Node
        ``call_function`` or ``call_method``; its input nodes become the module's inputs, in order.
    """

    def __init__(self, node: fx.Node) -> None:
        super().__init__()
        slots = {source: _Slot(index) for index, source in enumerate(node.all_input_nodes)}
        self.is_method = node.op == "call_method"
        self.target: Any = node.target

        def slotted(value: Any) -> Any:
            return slots[value] if isinstance(value, fx.Node) else value

        self.arguments, self.named = _mapped(node.args, slotted), _mapped(node.kwargs, slotted)

    def forward(self, *tensors: Tensor) -> Any:
        """The call's result."""
        def filled(value: Any) -> Any:
            return tensors[value.index] if isinstance(value, _Slot) else value

        arguments, named = _mapped(self.arguments, filled), _mapped(self.named, filled)
        if self.is_method:
            return getattr(arguments[0], self.target)(*arguments[1:], **named)
        return self.target(*arguments, **named)


def _mapped(values: Any, change: Callable[[Any], Any]) -> Any:
    return map_aggregate(values, change)


def keep_islands_in_float(graph: fx.GraphModule, kept: Collection[str]) -> list[str]:
    """Make calls that only read from `kept` layers `FloatCall`s, and name the modules that do.

    Parameters
    ----------
    graph : GraphModule
        Float; changed in place, and computes the same.
    kept : collection of str
        Names of the layers that stay in float.

    Returns
    -------
    list of str
        Modules other than layers that stay in float with them.
    """
    names: list[str] = []
    above: dict[fx.Node, bool] = {}
    for node in list(graph.graph.nodes):
        module = graph.get_submodule(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, LAYERS):
            above[node] = str(node.target) in kept
            continue
        sources = [above[source] for source in node.all_input_nodes if source in above]
        in_float = bool(sources) and all(sources)
        if sources:
            above[node] = in_float
        if in_float and module is not None:
            names.append(str(node.target))
        elif in_float and node.op in ("call_function", "call_method"):
            above[float_call(graph, node, "float_call")] = True
    finish(graph)
    return names


def float_call(graph: fx.GraphModule, node: fx.Node, prefix: str) -> fx.Node:
    """Make a function or method call a `FloatCall`, whose name begins with `prefix`; the new node."""
    return module_instead(graph, node, prefix, FloatCall(node), node.all_input_nodes)
