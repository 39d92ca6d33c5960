"""Converters of what is computed value by value and over dimensions."""
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sparkq.program.types import Attribute
from sparkq.quantization.capture.recorder import Bound, Converter
from sparkq.quantization.capture.tape import Tape

__all__ = ["ARITHMETIC", "as_dims"]

_UNARY = """
    abs ceil cos erf exp expm1 floor hardsigmoid hardswish log log1p mish neg reciprocal relu round rsqrt sigmoid sign silu sin
    sqrt tanh logical_not
""".split()
_BINARY = "maximum minimum eq ge gt le lt ne logical_and logical_or".split()


def as_dims(dims: Any, rank: int) -> tuple[int, ...]:
    """Return dimensions counted from the front; None and an empty list are all of them."""
    if dims is None or isinstance(dims, (list, tuple)) and not dims:
        return tuple(range(rank))
    return tuple(int(dim) % rank for dim in ([dims] if isinstance(dims, int) else dims))


def _unary(name: str) -> Converter:
    def convert(tape: Tape, call: Bound, result: Any) -> None:
        tape.give(result, f"aten.{name}", (call.real("self"),))
    return convert


def _binary(name: str) -> Converter:
    def convert(tape: Tape, call: Bound, result: Any) -> None:
        tape.give(result, f"aten.{name}", (call.real("self"), call.real("other")))
    return convert


def _scaled(tape: Tape, call: Bound, result: Tensor) -> str | float | int | None:
    """Other operand of a sum, times ``alpha``."""
    alpha, other = call.get("alpha", 1), call["other"]
    if alpha == 1:
        return call.real("other")
    if not isinstance(other, Tensor):
        return float(other) * float(alpha)
    scaled = other * alpha
    tape.give(scaled, "aten.mul", (tape.real(other), float(alpha)))
    return tape.real(scaled)


def _add(tape: Tape, call: Bound, result: Any) -> None:
    tape.give(result, "aten.add", (call.real("self"), _scaled(tape, call, result)))


def _sub(tape: Tape, call: Bound, result: Any) -> None:
    tape.give(result, "aten.sub", (call.real("self"), _scaled(tape, call, result)))


def _rsub(tape: Tape, call: Bound, result: Any) -> None:
    inputs = call.real("other"), _first(call)
    tape.give(result, "aten.sub", inputs)


def _first(call: Bound) -> str | float | int | None:
    if call.get("alpha", 1) != 1:
        raise NotImplementedError("rsub with alpha")
    return call.real("self")


def _mul(tape: Tape, call: Bound, result: Any) -> None:
    tape.give(result, "aten.mul", (call.real("self"), call.real("other")))


def _div(tape: Tape, call: Bound, result: Any) -> None:
    mode = call.get("rounding_mode")
    tape.give(result, "aten.div", (call.real("self"), call.real("other")))
    if mode is not None:
        if mode != "floor":
            raise NotImplementedError(f"div with rounding_mode {mode}")
        tape.give(result, "aten.floor", (tape.real(result),))


def _pow(tape: Tape, call: Bound, result: Any) -> None:
    tape.give(result, "aten.pow", (call.real("self"), call.real("exponent")))


def _where(tape: Tape, call: Bound, result: Any) -> None:
    tape.give(result, "aten.where", (call.real("condition"), call.real("self"), call.real("other")))


def _masked_fill(tape: Tape, call: Bound, result: Any) -> None:
    value = call["value"]
    tape.give(result, "aten.where", (call.real("mask"), float(value), call.real("self")))


def _clamp(tape: Tape, call: Bound, result: Any) -> None:
    low, high = call.get("min"), call.get("max")
    if isinstance(low, Tensor) or isinstance(high, Tensor):
        raise NotImplementedError("clamp with tensors")
    _clamped(tape, call, result, low, high)


def _clamped(tape: Tape, call: Bound, result: Tensor, low: float | None, high: float | None) -> None:
    bounds: dict[str, Attribute] = {"min": None if low is None else float(low), "max": None if high is None else float(high)}
    tape.give(result, "aten.clamp", (call.real("self"),), bounds)


def _relu6(tape: Tape, call: Bound, result: Any) -> None:
    _clamped(tape, call, result, 0.0, 6.0)


def _hardtanh(tape: Tape, call: Bound, result: Any) -> None:
    _clamped(tape, call, result, call["min_val"], call["max_val"])


def _clamp_min(tape: Tape, call: Bound, result: Any) -> None:
    _clamped(tape, call, result, call["min"], None)


def _clamp_max(tape: Tape, call: Bound, result: Any) -> None:
    _clamped(tape, call, result, None, call["max"])


def _elu(tape: Tape, call: Bound, result: Any) -> None:
    attributes = {name: float(call.get(name, 1.0)) for name in ("alpha", "scale", "input_scale")}
    tape.give(result, "aten.elu", (call.real("self"),), attributes)


def _celu(tape: Tape, call: Bound, result: Any) -> None:
    alpha = float(call.get("alpha", 1.0))
    tape.give(result, "aten.elu", (call.real("self"),), {"alpha": alpha, "scale": 1.0, "input_scale": 1 / alpha})


def _selu(tape: Tape, call: Bound, result: Any) -> None:
    attributes = {"alpha": 1.6732632423543772, "scale": 1.0507009873554805, "input_scale": 1.0}
    tape.give(result, "aten.elu", (call.real("self"),), attributes)


def _gelu(tape: Tape, call: Bound, result: Any) -> None:
    tape.give(result, "aten.gelu", (call.real("self"),), {"approximate": str(call["approximate"])})


def _leaky_relu(tape: Tape, call: Bound, result: Any) -> None:
    tape.give(result, "aten.leaky_relu", (call.real("self"),), {"negative_slope": float(call["negative_slope"])})


def _softplus(tape: Tape, call: Bound, result: Any) -> None:
    tape.give(result, "aten.softplus", (call.real("self"),), {name: float(call[name]) for name in ("beta", "threshold")})


def _softmax(name: str) -> Converter:
    def convert(tape: Tape, call: Bound, result: Any) -> None:
        tape.give(result, f"aten.{name}", (call.real("self"),), {"dim": int(call["dim"]) % result.ndim})
    return convert


def _reduction(name: str) -> Converter:
    def convert(tape: Tape, call: Bound, result: Any) -> None:
        source = call["self"]
        attributes: dict[str, Attribute] = {
            "dim": as_dims(call.get("dim"), source.ndim), "keepdim": bool(call.get("keepdim", False)),
        }
        if name == "linalg_vector_norm":
            attributes["ord"] = float(call["ord"])
        if name == "var":
            unbiased = call.get("correction", 1 if call.get("unbiased", True) else 0)
            attributes["correction"] = float(unbiased)
        tape.give(result, f"aten.{name}", (call.real("self"),), attributes)
    return convert


def _std(tape: Tape, call: Bound, result: Any) -> None:
    _reduction("var")(tape, call, result)
    tape.give(result, "aten.sqrt", (tape.real(result),))


def _max(name: str) -> Converter:
    """Largest or smallest values along one dimension: only the values can be read on."""
    def convert(tape: Tape, call: Bound, result: Any) -> None:
        source = call["self"]
        if isinstance(result, Tensor):
            if "other" in call.arguments:
                plain = {"amax": "maximum", "amin": "minimum"}[name]
                tape.give(result, f"aten.{plain}", (call.real("self"), call.real("other")))
                return
            tape.give(result, f"aten.{name}", (call.real("self"),), {"dim": as_dims(None, source.ndim), "keepdim": False})
            return
        attributes: dict[str, Attribute] = {"dim": as_dims(call["dim"], source.ndim), "keepdim": bool(call["keepdim"])}
        tape.give(result[0], f"aten.{name}", (call.real("self"),), attributes)
    return convert


def _cast(tape: Tape, call: Bound, result: Any) -> None:
    source = call["self"]
    if result.dtype == source.dtype:
        tape.alias(result, source)
        return
    if result.dtype not in (torch.float32, torch.bool):
        raise NotImplementedError(f"a cast to {str(result.dtype).removeprefix('torch.')}")
    tape.give(result, "aten._to_copy", (tape.value(source),))


ARITHMETIC: dict[str, Converter] = {
    **{name: _unary(name) for name in _UNARY},
    **{name: _binary(name) for name in _BINARY},
    "absolute": _unary("abs"), "negative": _unary("neg"),
    "greater": _binary("gt"), "greater_equal": _binary("ge"), "less": _binary("lt"), "less_equal": _binary("le"),
    "add": _add, "sub": _sub, "subtract": _sub, "rsub": _rsub, "mul": _mul, "multiply": _mul, "div": _div, "divide": _div,
    "true_divide": _div, "pow": _pow, "where": _where, "masked_fill": _masked_fill,
    "clamp": _clamp, "clip": _clamp, "clamp_min": _clamp_min, "clamp_max": _clamp_max, "relu6": _relu6, "hardtanh": _hardtanh,
    "elu": _elu, "celu": _celu, "selu": _selu, "gelu": _gelu, "leaky_relu": _leaky_relu, "softplus": _softplus,
    "softmax": _softmax("softmax"), "_softmax": _softmax("softmax"), "log_softmax": _softmax("log_softmax"),
    "_log_softmax": _softmax("log_softmax"),
    **{name: _reduction(name) for name in ("amax", "amin", "mean", "sum", "var", "linalg_vector_norm")},
    "std": _std, "max": _max("amax"), "min": _max("amin"), "to": _cast, "_to_copy": _cast, "type_as": _cast,
}
"""Converters by the name of an ATen operator."""
