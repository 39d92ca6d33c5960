"""Converters of layers and of what works on planes."""
from __future__ import annotations

from typing import Any

import torch

from sparkq.program.types import Attribute
from sparkq.quantization.capture.recorder import Bound, Converter
from sparkq.quantization.capture.tape import Tape

__all__ = ["LAYERS", "convolution_attributes", "pair"]


def pair(value: Any, default: Any = None) -> tuple[int, ...]:
    """Return two numbers, where one or a list of one or two was given."""
    found = [value] if isinstance(value, int) else list(value) or default
    return tuple(int(number) for number in (list(found) * 2)[:2])


def convolution_attributes(stride: Any, padding: Any, dilation: Any, groups: int) -> dict[str, Attribute]:
    """Return the attributes of a convolution."""
    return {"stride": pair(stride), "padding": pair(padding), "dilation": pair(dilation), "groups": int(groups)}


def _layer(tape: Tape, weight: Any) -> str | None:
    """Name of the layer that a weight belongs to."""
    name = tape.names.get(id(weight), "")
    return name.removesuffix(".weight") if name.endswith(".weight") else None


def _conv(tape: Tape, call: Bound, result: Any) -> None:
    weight, bias = call["weight"], call.get("bias")
    if weight.ndim != 4 or isinstance(call["padding"], str):
        raise NotImplementedError(f"a convolution over {weight.ndim - 2} dimensions, padding {call['padding']}")
    attributes = convolution_attributes(call["stride"], call["padding"], call["dilation"], call["groups"])
    inputs = (call.real("input"), tape.real(weight), None if bias is None else tape.real(bias))
    if call.get("transposed", False) or "output_padding" in call.arguments and "transposed" not in call.arguments:
        attributes["output_padding"] = pair(call["output_padding"])
        tape.give(result, "aten.conv_transpose2d", inputs, attributes, name=_layer(tape, weight))
    else:
        tape.give(result, "aten.conv2d", inputs, attributes, name=_layer(tape, weight))


def _same_conv(tape: Tape, call: Bound, result: Any) -> None:
    """A convolution whose padding is a word: as many zeros as keep the size, one more behind where they are odd."""
    if not isinstance(call["padding"], str):
        _conv(tape, call, result)
        return
    weight, dilation = call["weight"], pair(call["dilation"])
    if weight.ndim != 4:
        raise NotImplementedError(f"a convolution over {weight.ndim - 2} dimensions")
    totals = [0, 0] if call["padding"] == "valid" else [dilation[axis] * (weight.shape[2 + axis] - 1) for axis in (0, 1)]
    if any(total % 2 for total in totals):
        raise NotImplementedError("a convolution with padding='same' and an even kernel")
    bound = Bound(tape, {**call.arguments, "padding": [total // 2 for total in totals]})
    _conv(tape, bound, result)


def _linear(tape: Tape, call: Bound, result: Any) -> None:
    weight, bias = call["weight"], call.get("bias")
    inputs = (call.real("input"), tape.real(weight), None if bias is None else tape.real(bias))
    tape.give(result, "aten.linear", inputs, name=_layer(tape, weight))


def _matmul(tape: Tape, call: Bound, result: Any) -> None:
    left, right = call["self"], call.get("mat2", call.get("other"))
    if min(left.ndim, right.ndim) < 2:
        raise NotImplementedError("matmul of a vector")
    tape.give(result, "aten.matmul", (tape.real(left), tape.real(right)))


def _addmm(tape: Tape, call: Bound, result: Any) -> None:
    if call.get("alpha", 1) != 1 or call.get("beta", 1) != 1:
        raise NotImplementedError("addmm with alpha or beta")
    tape.give(result, "aten.matmul", (call.real("mat1"), call.real("mat2")))
    tape.give(result, "aten.add", (tape.real(result), call.real("self")))


def _attention(tape: Tape, call: Bound, result: Any) -> None:
    mask = call.get("attn_mask")
    if call.get("dropout_p", 0.0):
        raise NotImplementedError("attention with dropout")
    if mask is not None and call["is_causal"]:
        raise NotImplementedError("attention with a mask and is_causal")
    scale = call.get("scale")
    attributes: dict[str, Attribute] = {"is_causal": bool(call["is_causal"]), "scale": None if scale is None else float(scale)}
    inputs = (*(call.real(name) for name in ("query", "key", "value")), None if mask is None else tape.real(mask))
    tape.give(result, "aten.scaled_dot_product_attention", inputs, attributes)


def _batch_norm(tape: Tape, call: Bound, result: Any) -> None:
    if call.get("training", False):
        raise NotImplementedError("batch norm in training")
    weight, bias = call.get("weight"), call.get("bias")
    inputs = (
        call.real("input"), None if weight is None else tape.real(weight), None if bias is None else tape.real(bias),
        call.real("running_mean"), call.real("running_var"),
    )
    found = result if isinstance(result, torch.Tensor) else result[0]
    tape.give(found, "aten.batch_norm", inputs, {"eps": float(call["eps"])}, name=_layer(tape, weight))


def _group_norm(tape: Tape, call: Bound, result: Any) -> None:
    inputs = call.real("input"), call.real("weight"), call.real("bias")
    attributes = {"num_groups": int(call["num_groups"]), "eps": float(call["eps"])}
    tape.give(result, "aten.group_norm", inputs, attributes, name=_layer(tape, call["weight"]))


def _instance_norm(tape: Tape, call: Bound, result: Any) -> None:
    if not call["use_input_stats"]:
        _batch_norm(tape, call, result)
        return
    inputs = call.real("input"), call.real("weight"), call.real("bias")
    attributes = {"num_groups": int(call["input"].shape[1]), "eps": float(call["eps"])}
    tape.give(result, "aten.group_norm", inputs, attributes, name=_layer(tape, call["weight"]))


def _layer_norm(tape: Tape, call: Bound, result: Any) -> None:
    inputs = call.real("input"), call.real("weight"), call.real("bias")
    attributes: dict[str, Attribute] = {"normalized_shape": tuple(call["normalized_shape"]), "eps": float(call["eps"])}
    tape.give(result, "aten.layer_norm", inputs, attributes, name=_layer(tape, call["weight"]))


def _rms_norm(tape: Tape, call: Bound, result: Any) -> None:
    attributes: dict[str, Attribute] = {
        "normalized_shape": tuple(call["normalized_shape"]), "eps": float(call.get("eps", torch.finfo(torch.float32).eps)),
    }
    inputs = call.real("input"), call.real("weight")
    tape.give(result, "aten.rms_norm", inputs, attributes, name=_layer(tape, call["weight"]))


def _max_pool(tape: Tape, call: Bound, result: Any) -> None:
    found = result if isinstance(result, torch.Tensor) else result[0]
    kernel = pair(call["kernel_size"])
    attributes: dict[str, Attribute] = {
        "kernel_size": kernel, "stride": pair(call.get("stride", ()), kernel), "padding": pair(call["padding"]),
        "dilation": pair(call["dilation"]), "ceil_mode": bool(call["ceil_mode"]),
    }
    tape.give(found, "aten.max_pool2d", (call.real("self"),), attributes)


def _avg_pool(tape: Tape, call: Bound, result: Any) -> None:
    if call.get("divisor_override") is not None:
        raise NotImplementedError("an average pool with divisor_override")
    kernel = pair(call["kernel_size"])
    attributes: dict[str, Attribute] = {
        "kernel_size": kernel, "stride": pair(call.get("stride", ()), kernel), "padding": pair(call["padding"]),
        "ceil_mode": bool(call["ceil_mode"]), "count_include_pad": bool(call["count_include_pad"]),
    }
    tape.give(result, "aten.avg_pool2d", (call.real("self"),), attributes)


def _adaptive_avg_pool(tape: Tape, call: Bound, result: Any) -> None:
    tape.give(result, "aten.adaptive_avg_pool2d", (call.real("self"),), {"output_size": tuple(result.shape[2:])})


def _upsample(name: str) -> Converter:
    def convert(tape: Tape, call: Bound, result: Any) -> None:
        source, size = call["self"] if "self" in call.arguments else call["input"], tuple(result.shape[2:])
        given = [call.get(key) for key in ("scales_h", "scales_w")]
        factors = call.get("scale_factors") or (given if None not in given else [])
        # A factor that is no ratio of the sizes puts the grid elsewhere.
        if any(source.shape[2 + axis] * factor != size[axis] for axis, factor in enumerate(factors)):
            raise NotImplementedError(f"{name} by a factor that is no ratio of sizes")
        attributes: dict[str, Attribute] = {"output_size": size}
        if name == "upsample_bilinear2d":
            attributes["align_corners"] = bool(call["align_corners"])
        tape.give(result, f"aten.{name}", (tape.real(source),), attributes)
    return convert


LAYERS: dict[str, Converter] = {
    "conv2d": _same_conv, "convolution": _conv, "_convolution": _conv, "conv_transpose2d": _conv,
    "linear": _linear, "matmul": _matmul, "bmm": _matmul, "mm": _matmul, "addmm": _addmm,
    "scaled_dot_product_attention": _attention,
    "batch_norm": _batch_norm, "group_norm": _group_norm, "instance_norm": _instance_norm, "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "max_pool2d": _max_pool, "max_pool2d_with_indices": _max_pool, "avg_pool2d": _avg_pool,
    "adaptive_avg_pool2d": _adaptive_avg_pool, "_adaptive_avg_pool2d": _adaptive_avg_pool,
    "upsample_bilinear2d": _upsample("upsample_bilinear2d"), "upsample_nearest2d": _upsample("upsample_nearest2d"),
}
"""Converters by the name of an ATen operator."""
