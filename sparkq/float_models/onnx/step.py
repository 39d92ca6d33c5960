"""One ONNX operator on its way into the graph."""
from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from sparkq.float_models.graph_builder import GraphBuilder, UnsupportedError, Value
from sparkq.float_models.onnx.reading import OnnxNode

__all__ = ["Array", "OnnxStep", "tensor_of"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class OnnxStep:
    """One node with its inputs.

    Parameters
    ----------
    builder : GraphBuilder
        What it is added to.
    node : OnnxNode
        As the file has it.
    inputs : sequence of Value, ndarray or None
        What depends on the input, constants, and inputs that are left out.
    opset : int
        Version of ONNX's operators.
    batches : collection of int
        Batch size that the file was written for.
    is_exclusive : callable
        Whether this node is the only one that ever sees a value, so that the layer before may take the node in.
    """

    builder: GraphBuilder
    node: OnnxNode
    inputs: Sequence[Value | Array | None]
    opset: int
    batches: Collection[int]
    is_exclusive: Callable[[Value], bool]

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute of the node."""
        return self.node.attributes.get(name, default)

    def value(self, index: int = 0) -> Value:
        """An input that depends on the model's input, perhaps with a permutation pending."""
        given = self.inputs[index] if index < len(self.inputs) else None
        if not isinstance(given, Value):
            raise UnsupportedError(f"its input {index} is a constant")
        return given

    def plain(self, index: int = 0) -> Value:
        """The same with the permutation applied."""
        return self.builder.plain(self.value(index))

    def constant(self, index: int) -> Array | None:
        """An input that is a constant, or None where it is left out."""
        given = self.inputs[index] if index < len(self.inputs) else None
        if isinstance(given, Value):
            raise UnsupportedError(f"its input {index} depends on the model's input")
        return given

    def weight(self, index: int) -> Tensor | None:
        """A constant as float32."""
        given = self.constant(index)
        return None if given is None else tensor_of(given)

    def needed(self, index: int) -> Tensor:
        """A constant that must be there, as float32."""
        weight = self.weight(index)
        if weight is None:
            raise UnsupportedError(f"its input {index} is missing")
        return weight

    def numbers(self, index: int, attribute: str) -> list[int] | None:
        """Whole numbers that newer opsets give as an input and older ones as an attribute."""
        given = self.constant(index)
        if given is None:
            given = self.attribute(attribute)
        return None if given is None else [int(number) for number in np.atleast_1d(np.asarray(given))]

    def scalar(self, index: int, attribute: str) -> float | None:
        """The same for one number."""
        given = self.constant(index)
        if given is None:
            given = self.attribute(attribute)
        return None if given is None else float(np.asarray(given).reshape(-1)[0])

    @property
    def layer_name(self) -> str:
        """Find torch's name of the layer, where the exporter kept the name of its weight; else take the node's name."""
        weight = self.node.inputs[1] if len(self.node.inputs) > 1 else ""
        if re.fullmatch(r"[\w.]+\.weight", weight):
            return weight.removesuffix(".weight")
        return re.sub(r"\W+", "_", self.node.name).strip("_") or self.node.operator

    def layer(self, module: nn.Module) -> Value:
        """Add `module`, applied to the first input."""
        return self.builder.module(self.layer_name, module, self.plain())

    def pointwise(self, what: nn.Module | Callable[..., Any], *arguments: Any, **options: Any) -> Value:
        """Apply a module or function that treats each number alone: a pending permutation stays pending."""
        value = self.value()
        base = Value(value.node, value.example)
        if isinstance(what, nn.Module):
            result = self.builder.module(self.layer_name, what, base)
        else:
            result = self.builder.function(what, base, *arguments, **options)
        return Value(result.node, result.example, value.order)


def tensor_of(array: Array) -> Tensor:
    """A tensor of a constant, float32 if it is a float; a copy, for files are read-only memory."""
    tensor = torch.from_numpy(np.array(array))
    return tensor.float() if tensor.is_floating_point() else tensor
