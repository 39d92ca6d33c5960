"""From a program of aten calls to a module of nn modules that FX quantization fuses."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import fx

from sparkq.errors import ModelError
from sparkq.float_models.exported.operators import CHECKS, CONSTANT_OPERATORS, FUNCTIONS, OPERATORS
from sparkq.float_models.exported.program import Call, Program, Ref
from sparkq.float_models.exported.step import AtenStep
from sparkq.float_models.graph_builder import GraphBuilder, UnsupportedError, Value
from sparkq.float_models.size_budget import SizeBudget, tensor_bytes

__all__ = ["lowered"]

_UNKNOWN = "not an operator of image classifiers that sparkq knows"


def lowered(program: Program, *, place: str, budget: SizeBudget | None = None) -> fx.GraphModule:
    """Rebuild `program` as a module for any batch size.

    Parameters
    ----------
    program : Program
        One image input [N, C, H, W], one output.
    place : str
        Which model it is, for messages.
    budget : SizeBudget, optional
        What constants that are computed from its weights may take; default: as of a file of the size of its weights.

    Returns
    -------
    fx.GraphModule
        ``meta["image_shape"]`` is [C, H, W], what the graph holds for.

    Raises
    ------
    ModelError
        If it has other inputs or outputs, or an operator that cannot be taken over.
    """
    if len(program.inputs) != 1 or len(program.outputs) != 1:
        raise ModelError(
            f"{place}: expected one input and one output; got {len(program.inputs)} and {len(program.outputs)}.",
            hint="export a module that takes the image batch alone and returns the class scores alone.",
        )
    ((name, shape),) = program.inputs.items()
    if len(shape) != 4 or min(shape[1:]) < 1:
        raise ModelError(
            f"{place}: expected an input [N, C, H, W] with C, H and W fixed; got {list(shape)}.",
            hint="let only the batch dimension be dynamic when exporting.",
        )
    builder = GraphBuilder(shape[1:])
    environment: dict[str, Any] = {name: builder.input}
    environment.update({key: tensor for key, (_, tensor) in program.tensors.items()})
    budget = budget or SizeBudget(tensor_bytes(tensor for _, tensor in program.tensors.values()))
    layers = {key: full for key, (full, _) in program.tensors.items()}
    for call in program.calls:
        try:
            step = AtenStep(builder, call, _resolved(call.arguments, environment), layers, {shape[0]})
            results = _run(step, call, budget)
        # An operator that gets arguments of a kind that it does not take raises whatever comes first.
        except Exception as error:
            reason = str(error) if isinstance(error, UnsupportedError) else f"{type(error).__name__}: {error}"
            raise ModelError(
                f"{place}: expected operators of an image classifier; got {call.operator} at node {call.outputs[0]} "
                f"({' '.join(reason.split())[:200]}).",
                hint="export the model in eval mode, without pre- or post-processing.",
            ) from error
        environment.update(zip(call.outputs, results, strict=False))
    output = environment.get(program.outputs[0])
    if not isinstance(output, Value):
        raise ModelError(
            f"{place}: expected an output that depends on the input; got a constant.", hint="export the model again.",
        )
    module = builder.finish(output, program.name)
    module.meta["image_shape"] = tuple(shape[1:])
    return module


def _run(step: AtenStep, call: Call, budget: SizeBudget) -> tuple[Any, ...]:
    packet = call.operator.rpartition(".")[0] if call.operator.startswith("aten.") else call.operator
    packet = packet.removesuffix("_") if packet not in OPERATORS else packet
    if packet in CHECKS:
        return (True,)
    if packet.startswith("aten.") and not _depends_on_input(list(step.arguments.values())):
        result = _constant(packet, call.operator, step.arguments, budget)
    elif packet in OPERATORS:
        result = OPERATORS[packet](step)
    elif packet in FUNCTIONS:
        # Whatever else a schema calls so is a keyword of torch's function, too.
        options = {key: value for key, value in step.arguments.items() if key in ("dtype", "approximate") and value is not None}
        arguments = [value for key, value in step.arguments.items() if key not in ("dtype", "approximate")]
        result = step.builder.function(FUNCTIONS[packet], *arguments, **options)
    else:
        raise UnsupportedError(_UNKNOWN)
    return tuple(result) if isinstance(result, (list, tuple)) else (result,)


def _constant(packet: str, name: str, arguments: Mapping[str, Any], budget: SizeBudget) -> Any:
    """Compute what depends on weights alone; only operators on a list, for a file may name any."""
    if packet not in CONSTANT_OPERATORS:
        raise UnsupportedError(_UNKNOWN)
    operator: Any = torch.ops.aten
    for part in name.split(".")[1:]:
        operator = getattr(operator, part)
    with torch.no_grad():
        # On the meta device first, which computes sizes and nothing else.
        sizes = operator(**{key: _on_meta(value) for key, value in arguments.items()})
        budget.take(tensor_bytes(sizes if isinstance(sizes, (list, tuple)) else [sizes]))
        return operator(**arguments)


def _on_meta(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_on_meta(item) for item in value]
    if isinstance(value, torch.device):
        return torch.device("meta")
    return value.to("meta") if isinstance(value, torch.Tensor) else value


def _depends_on_input(arguments: Any) -> bool:
    if isinstance(arguments, (list, tuple)):
        return any(_depends_on_input(item) for item in arguments)
    return isinstance(arguments, Value)


def _resolved(arguments: Mapping[str, Any], environment: Mapping[str, Any]) -> dict[str, Any]:
    def resolve(value: Any) -> Any:
        if isinstance(value, Ref):
            return environment[value.name]
        return [resolve(item) for item in value] if isinstance(value, list) else value

    return {key: resolve(value) for key, value in arguments.items()}
