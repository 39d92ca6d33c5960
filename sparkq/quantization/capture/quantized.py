"""Converters of torch's quantized operators to the form that says what they mean: dequantize, the float operator, quantize."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from sparkq.program.types import Attribute
from sparkq.quantization.capture.layers import convolution_attributes, pair
from sparkq.quantization.capture.recorder import Bound, Converter
from sparkq.quantization.capture.tape import Tape

__all__ = ["CHANGES", "QUANTIZED"]


def _quantize(tape: Tape, call: Bound, result: Any) -> None:
    source = tape.real(call["self"])
    name = tape.numbered("quantize_per_tensor")
    tape.bind(result, tape.quantize(source, result.q_scale(), result.q_zero_point(), tuple(result.shape), called=name))


def _dequantize(tape: Tape, call: Bound, result: Any) -> None:
    tape.bind(result, tape.real(call["self"]))


def _integers(tape: Tape, call: Bound, result: Any) -> None:
    tape.bind(result, tape.value(call["self"]))


def _weights(tape: Tape, packed: Any) -> tuple[str, str | None]:
    """Weights and bias of the layer that runs."""
    weight, bias = packed.unpack()
    layer = tape.path or "layer"
    name = tape.quantized_weight(weight, layer)
    return name, None if bias is None else tape.constant(bias.detach().float().numpy(), f"{layer}.bias")


def _behind(
    tape: Tape, result: Tensor, operator: str, inputs: tuple[str | float | None, ...], attributes: dict[str, Attribute], *,
    name: str, relu: bool,
) -> None:
    """Record an operator, the ReLU that is fused with it, and the rounding of both."""
    if not relu:
        tape.give(result, operator, inputs, attributes, name=name)
        return
    floating = result.dequantize()
    tape.give(floating, operator, inputs, attributes, name=name)
    tape.give(result, "aten.relu", (tape.real(floating),), name=f"{name}.relu")


def _conv(relu: bool) -> Converter:
    def convert(tape: Tape, call: Bound, result: Any) -> None:
        packed = call["packed_weight"]
        if len(packed.stride()) != 2:
            raise NotImplementedError(f"a quantized convolution over {len(packed.stride())} dimensions")
        weight, bias = _weights(tape, packed)
        attributes = convolution_attributes(packed.stride(), packed.padding(), packed.dilation(), packed.groups())
        operator = "aten.conv2d"
        if packed.transpose():
            operator, attributes["output_padding"] = "aten.conv_transpose2d", pair(packed.output_padding())
        _behind(tape, result, operator, (tape.real(call["qx"]), weight, bias), attributes, name=tape.path or "layer", relu=relu)
    return convert


def _linear(relu: bool) -> Converter:
    def convert(tape: Tape, call: Bound, result: Any) -> None:
        weight, bias = _weights(tape, call["W_prepack"])
        _behind(tape, result, "aten.linear", (tape.real(call["X"]), weight, bias), {}, name=tape.path or "layer", relu=relu)
    return convert


def _arithmetic(operator: str, relu: bool) -> Converter:
    def convert(tape: Tape, call: Bound, result: Any) -> None:
        left, right = (call.get(names[0], call.get(names[1])) for names in (("qa", "a"), ("qb", "b")))
        other = tape.real(right) if isinstance(right, Tensor) else float(right)
        base = f"{operator}_relu" if relu else operator
        _behind(tape, result, f"aten.{operator}", (tape.real(left), other), {}, name=tape.numbered(base), relu=relu)
    return convert


def _cat(relu: bool) -> Converter:
    def convert(tape: Tape, call: Bound, result: Any) -> None:
        inputs = tuple(tape.real(tensor) for tensor in call["qx"])
        name = tape.numbered("cat_relu" if relu else "cat")
        _behind(tape, result, "aten.cat", inputs, {"dim": int(call["dim"]) % result.ndim}, name=name, relu=relu)
    return convert


def _function(operator: str, argument: str, attributes: Callable[[Bound], dict[str, Attribute]]) -> Converter:
    def convert(tape: Tape, call: Bound, result: Any) -> None:
        source = call[argument]
        name = tape.numbered(operator)
        _behind(tape, result, f"aten.{operator}", (tape.real(source),), attributes(call), name=name, relu=False)
    return convert


def _norm(operator: str, argument: str, attributes: Callable[[Bound], dict[str, Attribute]]) -> Converter:
    def convert(tape: Tape, call: Bound, result: Any) -> None:
        affine = (None if call.get(name) is None else tape.real(call[name]) for name in ("weight", "bias"))
        inputs = (tape.real(call[argument]), *affine)
        _behind(tape, result, f"aten.{operator}", inputs, attributes(call), name=tape.path or tape.numbered(operator), relu=False)
    return convert


def _batch_norm(relu: bool) -> Converter:
    def convert(tape: Tape, call: Bound, result: Any) -> None:
        affine = (None if call.get(name) is None else tape.real(call[name]) for name in ("weight", "bias"))
        inputs = (tape.real(call["qx"]), *affine, tape.real(call["mean"]), tape.real(call["var"]))
        name = tape.path or tape.numbered("batch_norm")
        _behind(tape, result, "aten.batch_norm", inputs, {"eps": float(call["eps"])}, name=name, relu=relu)
    return convert


def _elu(call: Bound) -> dict[str, Attribute]:
    return {name: float(call.get(name, 1.0)) for name in ("alpha", "scale", "input_scale")}


def _celu(call: Bound) -> dict[str, Attribute]:
    return {"alpha": float(call["alpha"]), "scale": 1.0, "input_scale": 1 / float(call["alpha"])}


def _normalized(call: Bound) -> dict[str, Attribute]:
    return {"normalized_shape": tuple(call["normalized_shape"]), "eps": float(call["eps"])}


CHANGES: dict[str, Converter] = {
    "quantize_per_tensor": _quantize, "dequantize": _dequantize, "int_repr": _integers,
}
"""Converters of ATen operators between floats and integers."""

QUANTIZED: dict[str, Converter] = {
    "conv2d": _conv(False), "conv2d_relu": _conv(True), "conv_transpose2d": _conv(False),
    "linear": _linear(False), "linear_relu": _linear(True),
    **{name: _arithmetic(name, False) for name in ("add", "mul")},
    **{f"{name}_relu": _arithmetic(name, True) for name in ("add", "mul")},
    "add_scalar": _arithmetic("add", False), "mul_scalar": _arithmetic("mul", False),
    "add_scalar_relu": _arithmetic("add", True), "mul_scalar_relu": _arithmetic("mul", True),
    "cat": _cat(False), "cat_relu": _cat(True), "matmul": _arithmetic("matmul", False),
    "hardswish": _function("hardswish", "input", lambda call: {}),
    "sigmoid": _function("sigmoid", "qx", lambda call: {}),
    "leaky_relu": _function("leaky_relu", "qx", lambda call: {"negative_slope": float(call["negative_slope"])}),
    "elu": _function("elu", "self", _elu), "celu": _function("elu", "self", _celu),
    "relu6": _function("clamp", "qx", lambda call: {"min": 0.0, "max": 6.0}),
    "softmax": _function("softmax", "qx", lambda call: {"dim": int(call["dim"])}),
    "layer_norm": _norm("layer_norm", "input", _normalized),
    "group_norm": _norm("group_norm", "input", lambda call: {"num_groups": int(call["num_groups"]), "eps": float(call["eps"])}),
    "instance_norm": _norm("group_norm", "input", lambda call: {
        "num_groups": int(call["input"].shape[1]), "eps": float(call["eps"]),
    }),
    "batch_norm2d": _batch_norm(False), "batch_norm2d_relu": _batch_norm(True),
}
"""Converters of operators in torch's namespace ``quantized``, by name."""
