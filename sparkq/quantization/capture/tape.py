"""The tape that a recording fills: nodes with the sizes of one run, constants, and which tensor is which value."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from sparkq.errors import ModelError
from sparkq.program.types import INPUT, Argument, Array, Attribute, Node, ValueType

__all__ = ["Tape", "dtype_name"]

_DEQUANTIZE = "quantized_decomposed.dequantize_per_tensor"
_QUANTIZE = "quantized_decomposed.quantize_per_tensor"
_LEVELS = 255


def dtype_name(dtype: torch.dtype) -> str:
    """Return a dtype's name without ``torch.``; a quantized one is its integers'."""
    names = {torch.quint8: "uint8", torch.qint8: "int8", torch.qint32: "int32"}
    return names.get(dtype, str(dtype).removeprefix("torch."))


@dataclass
class Tape:
    """What was recorded so far.

    Parameters
    ----------
    names : mapping of int to str
        Names of parameters and buffers, by the id of the tensor.
    """

    names: Mapping[int, str]
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    path: str = ""
    _values: dict[int, str] = field(default_factory=dict)
    _floats: dict[str, str] = field(default_factory=dict)
    _kept: list[object] = field(default_factory=list)
    _stale: set[int] = field(default_factory=set)
    _counts: dict[str, int] = field(default_factory=dict)
    _constants: dict[int, str] = field(default_factory=dict)

    def start(self, images: Tensor) -> None:
        """Make a tensor the program's input."""
        self.bind(images, INPUT)

    def knows(self, tensor: object) -> bool:
        """Tell whether a tensor depends on the input."""
        return isinstance(tensor, Tensor) and (id(tensor) in self._values or id(tensor) in self._stale)

    def value(self, tensor: Tensor) -> str:
        """Return the name of a tensor's value as it is: integers stay integers; one that nothing computed is a constant."""
        if id(tensor) in self._stale:
            raise ModelError(
                "model: expected operators that leave what others still read; one writes in place into a part of a tensor.",
                hint="write the model without in-place assignments.",
            )
        return self._values.get(id(tensor)) or self._constant(tensor)

    def real(self, tensor: Tensor) -> str:
        """Return the name of a tensor's value as real numbers: quantized ones are dequantized, once."""
        if not tensor.is_quantized:
            return self.value(tensor)
        if not self.knows(tensor):
            return self._quantized_constant(tensor)
        name = self.value(tensor)
        if name not in self._floats:
            self._floats[name] = self.add(
                _DEQUANTIZE, (name,), {"scale": tensor.q_scale(), "zero_point": tensor.q_zero_point()},
                ValueType("float32", tuple(tensor.shape)), f"{name.removesuffix('.quantized')}.dequantized",
            )
        return self._floats[name]

    def alias(self, result: Tensor, source: Tensor) -> None:
        """Let a tensor have the value of another."""
        self.bind(result, self.value(source))

    def give(
        self, result: Tensor, operator: str, inputs: Sequence[Argument], attributes: Mapping[str, Attribute] | None = None,
        *, name: str | None = None,
    ) -> None:
        """Record the operator that computed `result`; a quantized result is rounded behind it to its own scale."""
        shape = tuple(result.shape)
        dtype = "float32" if result.is_quantized else dtype_name(result.dtype)
        name = name or self.numbered(operator.partition(".")[2].strip("_"))
        found = self.add(operator, inputs, attributes or {}, ValueType(dtype, shape), name)
        if result.is_quantized:
            found = self.quantize(found, result.q_scale(), result.q_zero_point(), shape)
        self.bind(result, found)

    def quantize(self, name: str, scale: float, zero_point: int, shape: tuple[int, ...], *, called: str | None = None) -> str:
        """Record the rounding of a value to 8 bits; the name of its integers."""
        attributes = {"scale": scale, "zero_point": zero_point, "quant_min": 0, "quant_max": _LEVELS}
        called = called or f"{name.removesuffix('.relu')}.quantized"
        return self.add(_QUANTIZE, (name,), attributes, ValueType("uint8", shape), called)

    def add(
        self, operator: str, inputs: Sequence[Argument], attributes: Mapping[str, Attribute], found: ValueType, name: str,
    ) -> str:
        """Record a node under the first free name that begins with `name`."""
        taken = self._counts.get(name, 0)
        self._counts[name] = taken + 1
        unique = name if not taken else f"{name}~{taken}"
        self.nodes.append(Node(unique, operator, tuple(inputs), dict(attributes), found))
        return unique

    def constant(self, array: Array, name: str) -> str:
        """Record a constant under the first free name that begins with `name`."""
        taken = self._counts.get(name, 0)
        self._counts[name] = taken + 1
        unique = name if not taken else f"{name}~{taken}"
        self.constants[unique] = array
        return unique

    def overwritten(self, tensor: Tensor) -> None:
        """Note that an operator wrote into a tensor's memory: other tensors there no longer hold their values."""
        pointer = tensor.untyped_storage().data_ptr()
        for other in self._kept:
            if isinstance(other, Tensor) and other is not tensor and other.untyped_storage().data_ptr() == pointer:
                if self._values.pop(id(other), None) is not None:
                    self._stale.add(id(other))

    def bind(self, tensor: Tensor, name: str) -> None:
        """Let a tensor be the value of this name."""
        # Kept, so that no other tensor gets its id.
        self._kept.append(tensor)
        self._stale.discard(id(tensor))
        self._values[id(tensor)] = name

    def numbered(self, base: str) -> str:
        """Return a name with the next number: ``add_0``, ``add_1`` ...; in the normalization they count for themselves."""
        base = f"normalization.{base}" if self.path == "normalization" else base
        self._counts[f"#{base}"] = self._counts.get(f"#{base}", -1) + 1
        return f"{base}_{self._counts[f'#{base}']}"

    def _constant(self, tensor: Tensor) -> str:
        if id(tensor) not in self._constants:
            self._kept.append(tensor)
            array = np.array(tensor.detach().cpu().contiguous().numpy())
            self._constants[id(tensor)] = self.constant(array, self.names.get(id(tensor), "constant"))
        return self._constants[id(tensor)]

    def _quantized_constant(self, tensor: Tensor) -> str:
        """Integers, scales and the node that dequantizes them; a scale for all channels becomes one a channel."""
        if id(tensor) not in self._constants:
            self._kept.append(tensor)
            self._constants[id(tensor)] = self.quantized_weight(tensor, self.path or "constant")
        return self._constants[id(tensor)]

    def quantized_weight(self, weight: Tensor, layer: str) -> str:
        """Record the int8 weights of a layer; the name of their dequantized values, float32 of the same shape."""
        if weight.qscheme() in (torch.per_channel_affine, torch.per_channel_symmetric):
            axis, scales = weight.q_per_channel_axis(), weight.q_per_channel_scales().double().numpy()
            zeros = weight.q_per_channel_zero_points().numpy().astype(np.int64)
        else:
            axis, channels = 0, weight.shape[0]
            scales, zeros = np.full(channels, weight.q_scale()), np.full(channels, weight.q_zero_point(), np.int64)
        integers = self.constant(weight.int_repr().contiguous().numpy(), f"{layer}.weight")
        inputs = integers, self.constant(scales, f"{layer}.scales"), self.constant(zeros, f"{layer}.zero_points")
        return self.add(
            "quantized_decomposed.dequantize_per_channel", inputs, {"axis": axis}, ValueType("float32", tuple(weight.shape)),
            f"{layer}.weight.dequantized",
        )
