"""From a module to a float graph with known shapes, and what the rewriting steps ask of its nodes."""
from __future__ import annotations

import copy
from typing import Any

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional as F

from sparkq.errors import ModelError, one_line
from sparkq.float_models.exported import traceable

__all__ = ["input_node", "module_of", "only_user", "propagate_shapes", "shape_of", "trace_float"]


def trace_float(model: nn.Module, example: torch.Tensor) -> fx.GraphModule:
    """Trace a copy of `model` symbolically and note the shape of every node.

    Parameters
    ----------
    model : nn.Module
        In eval mode; takes float32 [N, 3, H, W]. It is not changed.
    example : Tensor
        One normalized batch.

    Raises
    ------
    ModelError
        If torch.fx cannot trace it, or it does not run on `example`.
    """
    try:
        graph = fx.symbolic_trace(copy.deepcopy(traceable(model, example)))
    except ModelError:
        raise
    # A tracer runs the user's code: anything may come out of it.
    except Exception as error:
        raise ModelError(
            f"model {type(model).__name__}: expected one that torch.fx can trace; got {one_line(error)}.",
            hint="take control flow that depends on tensor values or sizes out of forward(), or wrap it in a module "
            "that torch.fx treats as a leaf.",
        ) from error
    graph.eval()
    _call_relu_by_one_name(graph)
    try:
        with torch.no_grad():
            # The model itself first: torch.fx prints a traceback for a graph that fails.
            model(example)
        propagate_shapes(graph, example)
    # Its operators: an index out of range is an IndexError, not a RuntimeError.
    except Exception as error:
        raise ModelError(
            f"model {type(model).__name__}: expected a forward pass on {list(example.shape)}; got {one_line(error)}.",
            hint="check preprocess: crop or resize.size is the model's input size.",
        ) from error
    return graph


def _call_relu_by_one_name(graph: fx.GraphModule) -> None:
    """``x.relu()`` as ``F.relu(x)``: torch fuses only the latter with the layer before it."""
    for node in graph.graph.nodes:
        if node.op == "call_method" and node.target in ("relu", "relu_"):
            node.op, node.target = "call_function", F.relu
    graph.recompile()


def propagate_shapes(graph: fx.GraphModule, example: torch.Tensor) -> None:
    """Note the shape of every node's output for the batch `example`."""
    with torch.no_grad():
        ShapeProp(graph).propagate(example)


def shape_of(node: object) -> tuple[int, ...] | None:
    """The noted shape, or None for what is not one tensor."""
    shape = getattr(node.meta.get("tensor_meta"), "shape", None) if isinstance(node, fx.Node) else None
    return tuple(shape) if isinstance(shape, torch.Size) else None


def module_of(graph: fx.GraphModule, node: object) -> nn.Module | None:
    """The module that `node` calls, if it calls one and no other node does."""
    if not isinstance(node, fx.Node) or node.op != "call_module":
        return None
    module = graph.get_submodule(str(node.target))
    # A module under two names or called twice has two places in the graph: a change for one would break the other.
    calls = [other for other in graph.graph.nodes if other.op == "call_module" and graph.get_submodule(other.target) is module]
    return module if len(calls) == 1 else None


def input_node(node: fx.Node) -> Any:
    """The node's first argument."""
    return node.args[0] if node.args else node.kwargs.get("input")


def only_user(node: fx.Node) -> fx.Node | None:
    """The one node that reads `node`, or None."""
    return next(iter(node.users)) if len(node.users) == 1 else None
