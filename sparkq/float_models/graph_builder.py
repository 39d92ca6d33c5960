"""From operators of another format to a `torch.fx.GraphModule` of nn modules, node by node.

`sparkq.float_models.onnx` and `sparkq.float_models.exported` both build their graphs with it. Convolutions, BatchNorm, linear
layers and activations become modules, because that is what FX quantization fuses. Shapes come from a run on the meta device,
which computes nothing.
"""
from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

__all__ = ["ACTIVATIONS", "BATCH", "GraphBuilder", "UnsupportedError", "Value", "batch_norm", "convolution", "linear"]

BATCH = 1_000_003
"""Stands for the batch size wherever a graph computes with shapes: a prime that no layer is wide, and that fits int32."""

_EXAMPLE_BATCH = 2
_MOST_BYTES = 2**32
"""The most bytes of one value for so many images: of VGG at 224 x 224 pixels it is 26 MB, at 2048 x 2048 two gigabytes."""

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU, "relu6": nn.ReLU6, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "silu": nn.SiLU, "mish": nn.Mish,
    "hardsigmoid": nn.Hardsigmoid, "hardswish": nn.Hardswish, "softplus": nn.Softplus,
}
"""Activations without arguments, by aten's names."""


class UnsupportedError(Exception):
    """One operator cannot be taken over; the message says why, the caller says which."""


@dataclass(frozen=True)
class Value:
    """A tensor that depends on the input.

    Parameters
    ----------
    node : fx.Node
        What computes it.
    example : Tensor
        Its shape and dtype, on the meta device.
    order : tuple of int, optional
        A permutation that is still to be applied: the value is ``node.permute(order)``, and `example` is the node's own.
        Transposes are put off so that those between NHWC and NCHW meet and vanish.
    """

    node: fx.Node
    example: Tensor
    order: tuple[int, ...] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The value's shape with the pending permutation applied; dimension 0 of an unpermuted value is the batch."""
        shape = tuple(self.example.shape)
        return shape if self.order is None else tuple(shape[axis] for axis in self.order)


class GraphBuilder:
    """Builds the graph and the modules that it calls.

    Parameters
    ----------
    image_shape : sequence of int
        Shape of the input without the batch dimension.
    """

    def __init__(self, image_shape: Sequence[int]) -> None:
        self._root = nn.Module()
        self._graph = fx.Graph()
        self._constants: dict[int, Value] = {}
        self.input = Value(self._graph.placeholder("x"), torch.empty((_EXAMPLE_BATCH, *image_shape), device="meta"))

    def module(self, name: str, module: nn.Module, value: Value) -> Value:
        """Add `module` under (about) this name, and a call of it."""
        value = self.plain(value)
        target = self._free_name(name)
        container = self._root
        for part in target.split(".")[:-1]:
            if not hasattr(container, part):
                container.add_module(part, nn.Module())
            container = getattr(container, part)
        container.add_module(target.rpartition(".")[2], module.eval())
        state = {key: tensor.to("meta") for key, tensor in module.state_dict().items()}
        example = _sized(torch.func.functional_call(module, state, (value.example,)))
        return Value(self._graph.call_module(target, (value.node,)), example)

    def function(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Value:
        """Call a function on values, tensors (which become buffers) and numbers."""
        ready = [self._ready(argument) for argument in arguments]
        nodes, examples = (tuple(_part(argument, part) for argument in ready) for part in ("node", "example"))
        return Value(self._graph.call_function(function, nodes, options), _sized(function(*examples, **options)))

    def plain(self, value: Value) -> Value:
        """`value` with its pending permutation applied."""
        if value.order is None:
            return value
        return self.function(torch.permute, Value(value.node, value.example), value.order)

    def permuted(self, value: Value, order: Sequence[int]) -> Value:
        """`value` with one more permutation pending."""
        rank = len(value.example.shape)
        axes = [axis % rank for axis in order]
        composed = tuple(axes if value.order is None else (value.order[axis] for axis in axes))
        return Value(value.node, value.example, None if composed == tuple(range(rank)) else composed)

    def reshaped(self, value: Value, target: Sequence[int], batches: Collection[int] = ()) -> Value:
        """Reshape image by image, whatever the batch size was when the file was written.

        Parameters
        ----------
        value : Value
            Batch first.
        target : sequence of int
            The shape asked for; -1 is inferred.
        batches : collection of int
            What a first dimension may be, beside -1 and `BATCH`, to mean the batch.
        """
        value = self.plain(value)
        numbers = math.prod(value.shape[1:])
        rest = [int(size) for size in target[1:]]
        if not target or target[0] not in {-1, BATCH, *batches}:
            raise UnsupportedError(f"expected a reshape that keeps the batch dimension; got {list(target)} from {_shown(value)}")
        if -1 in rest:
            others = math.prod(size for size in rest if size != -1)
            rest[rest.index(-1)] = numbers // others if others else 0
        if math.prod(rest) != numbers:
            raise UnsupportedError(f"expected {numbers} numbers an image; got a reshape from {_shown(value)} to {list(target)}")
        if tuple(rest) == value.shape[1:]:
            return value
        # flatten cannot mix images of a batch, whatever comes in.
        return self.function(torch.flatten, value, 1) if len(rest) == 1 else self.function(torch.reshape, value, (-1, *rest))

    def finish(self, output: Value, name: str) -> fx.GraphModule:
        """The module: float32 [N, ...] to [N, classes]; trailing dimensions of size 1 are dropped from its output."""
        output = self.plain(output)
        if len(output.shape) > 2 and math.prod(output.shape[2:]) == 1:
            output = self.function(torch.flatten, output, 1)
        self._graph.output(output.node)
        module = fx.GraphModule(self._root, self._graph, re.sub(r"\W", "_", name) or "model")
        module.graph.eliminate_dead_code()
        module.delete_all_unused_submodules()
        module.recompile()
        return module.eval()

    def module_of(self, value: Value) -> nn.Module | None:
        """The module that computes `value`, if one does."""
        return self._root.get_submodule(str(value.node.target)) if value.node.op == "call_module" else None

    def _ready(self, argument: Any) -> Any:
        if isinstance(argument, (list, tuple)):
            return type(argument)(self._ready(item) for item in argument)
        if isinstance(argument, Tensor):
            return self._constant(argument)
        return self.plain(argument) if isinstance(argument, Value) else argument

    def _constant(self, tensor: Tensor) -> Value:
        if id(tensor) not in self._constants:
            name = self._free_name(f"constant_{len(self._constants)}")
            self._root.register_buffer(name, tensor)
            self._constants[id(tensor)] = Value(self._graph.get_attr(name), tensor.to("meta"))
        return self._constants[id(tensor)]

    def _free_name(self, name: str) -> str:
        parts = [re.sub(r"\W+", "_", part).strip("_") or "m" for part in name.split(".")]
        target = ".".join(parts)
        if len(parts) > 1 and self._is_taken(target):
            target = target.replace(".", "_")
        candidate, number = target, 0
        while self._is_taken(candidate):
            number += 1
            candidate = f"{target}_{number}"
        return candidate

    def _is_taken(self, target: str) -> bool:
        """Whether the name, or one of the containers on its way, is a layer's or an attribute of every module."""
        place: nn.Module = self._root
        *above, last = target.split(".")
        for part in above:
            if not hasattr(place, part):
                return False
            place = getattr(place, part)
            if type(place) is not nn.Module:
                return True
        return hasattr(place, last)


def convolution(
    weight: Tensor, bias: Tensor | None, *, stride: Sequence[int], padding: Sequence[int] | str, dilation: Sequence[int],
    groups: int,
) -> nn.Conv2d:
    """A convolution of `weight` [out, in / groups, height, width]."""
    if weight.ndim != 4:
        raise UnsupportedError(f"expected a convolution in two dimensions; got weights {list(weight.shape)}")
    height, width = int(weight.shape[2]), int(weight.shape[3])
    module = nn.Conv2d(
        int(weight.shape[1]) * groups, int(weight.shape[0]), (height, width), (stride[0], stride[-1]),
        padding if isinstance(padding, str) else (padding[0], padding[-1]), (dilation[0], dilation[-1]), groups,
        bias=bias is not None, device="meta",
    )
    _fill(module, {"weight": weight, "bias": bias})
    return module


def linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A linear layer of `weight` [out, in]."""
    module = nn.Linear(int(weight.shape[1]), int(weight.shape[0]), bias=bias is not None, device="meta")
    _fill(module, {"weight": weight, "bias": bias})
    return module


def batch_norm(
    weight: Tensor | None, bias: Tensor | None, mean: Tensor, variance: Tensor, *, epsilon: float, rank: int = 4,
) -> nn.Module:
    """A BatchNorm over dimension 1 of values of `rank` dimensions."""
    kind = nn.BatchNorm2d if rank == 4 else nn.BatchNorm1d
    module = kind(mean.numel(), eps=epsilon, affine=weight is not None or bias is not None, device="meta")
    count = torch.tensor(0)
    if module.affine:
        weight = torch.ones_like(mean) if weight is None else weight
        bias = torch.zeros_like(mean) if bias is None else bias
    _fill(module, {
        "weight": weight, "bias": bias, "running_mean": mean, "running_var": variance, "num_batches_tracked": count,
    })
    return module


def _fill(module: nn.Module, state: dict[str, Tensor | None]) -> None:
    given = {
        name: tensor.detach().clone().float() if tensor.is_floating_point() else tensor
        for name, tensor in state.items() if tensor is not None
    }
    module.load_state_dict(given, assign=True)
    for parameter in module.parameters():
        parameter.requires_grad_(False)


def _sized(example: Any) -> Any:
    """`example`, if its like can be computed."""
    if isinstance(example, Tensor) and example.numel() * example.element_size() > _MOST_BYTES:
        raise UnsupportedError(f"a result of {list(example.shape)} for {_EXAMPLE_BATCH} images")
    return example


def _part(argument: Any, part: str) -> Any:
    if isinstance(argument, (list, tuple)):
        return type(argument)(_part(item, part) for item in argument)
    return getattr(argument, part) if isinstance(argument, Value) else argument


def _shown(value: Value) -> str:
    return f"[N, {', '.join(map(str, value.shape[1:]))}]"
