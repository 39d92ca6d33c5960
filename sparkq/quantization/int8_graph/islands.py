"""Islands: nodes that stand only between float layers stay in float as well; rounded to 8 bits in between, they would gain
nothing.
"""
from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx, nn
from torch.fx.node import map_aggregate

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
            above[float_call(graph, node, f"float_call_{len(above)}")] = True
    graph.graph.lint()
    graph.recompile()
    return names


def float_call(graph: fx.GraphModule, node: fx.Node, name: str) -> fx.Node:
    """Make a function or method call a `FloatCall` of that name; the new node."""
    graph.add_submodule(name, FloatCall(node))
    with graph.graph.inserting_after(node):
        new = graph.graph.call_module(name, tuple(node.all_input_nodes))
    new.meta = dict(node.meta)
    node.replace_all_uses_with(new)
    graph.graph.erase_node(node)
    return new
