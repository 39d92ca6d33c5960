"""The edits of torch.fx graphs that all rewrites are made of: another call in a node's place, a node passed by, the end.

A rewrite goes over ``list(graph.graph.nodes)``, edits in place, and calls `finish` once. What its nodes are known to give (their
``meta``, where `sparkq.quantization.float_graph.trace` notes shapes) goes over to the nodes that take their place.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import fx, nn

__all__ = ["call_instead", "finish", "module_instead", "pass_by"]


def call_instead(
    graph: fx.GraphModule, node: fx.Node, target: Callable[..., Any] | str, arguments: Sequence[Any],
) -> fx.Node:
    """Put a call in the place of a node, for all that read it.

    Parameters
    ----------
    graph : GraphModule
        Changed in place.
    node : Node
        It is erased; `arguments` may hold the nodes that it read.
    target : callable or str
        A function, or the name of a module of `graph`.
    arguments : sequence
        Those of the call.

    Returns
    -------
    Node
        The new one.
    """
    with graph.graph.inserting_after(node):
        if isinstance(target, str):
            new = graph.graph.call_module(target, tuple(arguments))
        else:
            new = graph.graph.call_function(target, tuple(arguments))
    new.meta = dict(node.meta)
    node.replace_all_uses_with(new)
    graph.graph.erase_node(node)
    return new


def module_instead(graph: fx.GraphModule, node: fx.Node, prefix: str, module: nn.Module, arguments: Sequence[Any]) -> fx.Node:
    """Put a new module in the place of a node, as `call_instead`, under the first free name ``PREFIX_0``, ``PREFIX_1`` ..."""
    number = 0
    while hasattr(graph, f"{prefix}_{number}"):
        number += 1
    graph.add_submodule(f"{prefix}_{number}", module)
    return call_instead(graph, node, f"{prefix}_{number}", arguments)


def pass_by(node: fx.Node) -> None:
    """Erase a node: all that read it read its first input instead."""
    node.replace_all_uses_with(node.all_input_nodes[0])
    node.graph.erase_node(node)


def finish(graph: fx.GraphModule) -> None:
    """Check the edited graph, make it callable again, and drop the modules that it no longer calls."""
    graph.graph.lint()
    graph.recompile()
    graph.delete_all_unused_submodules()
