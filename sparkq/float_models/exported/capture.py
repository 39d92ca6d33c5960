"""Models that `torch.fx` cannot trace: their graph comes from `torch.export`."""
from __future__ import annotations

import copy
import operator
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from sparkq.errors import ModelError
from sparkq.float_models.exported.lowering import lowered
from sparkq.float_models.exported.program import Call, Program, Ref

__all__ = ["traceable"]

_BATCH = 2


def traceable(model: nn.Module, example: Tensor) -> nn.Module:
    """A module that computes what `model` does and that `torch.fx` can trace.

    Parameters
    ----------
    model : nn.Module
        In eval mode. It is not changed, and returned as it is when ``torch.fx.symbolic_trace`` takes it.
    example : Tensor
        float32 [N, 3, H, W]; the graph of a model that goes through ``torch.export`` holds for this height and width.

    Raises
    ------
    ModelError
        If neither way gives a graph.
    """
    try:
        # The tracer leaves marks on the module.
        fx.symbolic_trace(copy.deepcopy(model))
        return model
    # A tracer runs the user's code: anything may come out of it.
    except Exception as error:
        refusal = f"{type(error).__name__}: {' '.join(str(error).split())[:150]}"
    name = type(model).__name__
    images = example[:1].expand(_BATCH, -1, -1, -1).contiguous()
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            exported = torch.export.export(model, (images,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    except Exception as error:
        raise ModelError(
            f"model {name}: expected one that torch.fx can trace, or torch.export; got {refusal}, and "
            f"{type(error).__name__}: {' '.join(str(error).split())[:150]}.",
            hint="take control flow that depends on tensor values or sizes out of forward().",
        ) from error
    return lowered(program_of(exported, name, tuple(images.shape[1:])), place=f"model {name}")


def program_of(exported: torch.export.ExportedProgram, name: str, image_shape: tuple[int, ...]) -> Program:
    """Read the program that `exported` holds, by value."""
    signature = exported.graph_signature
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers, **signature.inputs_to_lifted_tensor_constants}
    values: dict[str, Any] = {**exported.constants, **exported.state_dict}
    outputs = next(node for node in exported.graph.nodes if node.op == "output").args[0]
    return Program(
        name,
        {user_input: (-1, *image_shape) for user_input in signature.user_inputs if isinstance(user_input, str)},
        {placeholder: (full, values[full].detach()) for placeholder, full in names.items()},
        tuple(_call(node) for node in exported.graph.nodes if node.op == "call_function" and not _is_part(node)),
        tuple(node.name for node in outputs if isinstance(node, fx.Node)),
    )


def _is_part(node: fx.Node) -> bool:
    """Whether it only takes one of several results of another node."""
    source = node.args[0] if node.args else None
    return node.target is operator.getitem and isinstance(source, fx.Node) and not isinstance(source.meta.get("val"), Tensor)


def _call(node: fx.Node) -> Call:
    parts = {int(user.args[1]): user.name for user in node.users if _is_part(user)}  # type: ignore[arg-type]
    outputs = tuple(parts.get(index, f"{node.name}.{index}") for index in range(max(parts) + 1)) if parts else (node.name,)
    if isinstance(node.target, torch._ops.OpOverload):
        names = [argument.name for argument in node.target._schema.arguments]
        arguments = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
        return Call(str(node.target), {key: _plain(value) for key, value in arguments.items()}, outputs)
    target: Callable[..., Any] | str = node.target
    name = target if isinstance(target, str) else f"_operator.{target.__name__}"
    return Call(name, {str(index): _plain(value) for index, value in enumerate(node.args)}, outputs)


def _plain(value: Any) -> Any:
    if isinstance(value, fx.Node):
        return Ref(value.name)
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
