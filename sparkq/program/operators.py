"""The operators that a program may hold: a closed list, each with its inputs, its attributes and the type of its value.

Names and meaning are PyTorch's. ``aten`` operators are documented with ``torch.NAME`` or ``torch.nn.functional.NAME``, and
``quantized_decomposed`` ones in ``torch/ao/quantization/fx/_decomposed.py``, PyTorch's own reference form of INT8: integers are
ordinary uint8 and int8 tensors, and a quantized layer reads as dequantize, the float operator, quantize. An engine may compute
these three at once in integers.

Inputs are tensors. One with a question mark may be None, one with a star is any number of tensors, and those of arithmetic may be
numbers. Attributes are written whole: no operator has a default. ``view``, ``expand`` and ``full`` take their shape, and
``_to_copy`` its dtype, from the type of the node itself, the only places where the number of images shows.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sparkq.program.shapes import layers, moves, planes, values
from sparkq.program.shapes.call import Call

__all__ = ["ARITHMETIC", "OPERATORS", "Operator"]


@dataclass(frozen=True)
class Operator:
    """One operator of the list.

    Parameters
    ----------
    inputs : tuple of str
        Their names; ``NAME?`` may be None, ``NAME*`` is any number of tensors and stands last.
    attributes : mapping of str to str
        By name their kind: ``int``, ``float``, ``number?`` (float or None), ``bool``, ``ints``, or words to choose from, ``a|b``.
    infer : callable
        From a `Call` to the dtype and shape of the value. Raises `ValueError` with what does not fit.
    """

    inputs: tuple[str, ...]
    attributes: Mapping[str, str]
    infer: Callable[[Call], tuple[str, tuple[int, ...]]]


def _unary(**attributes: str) -> Operator:
    return Operator(("x",), attributes, values.same)


_BINARY = Operator(("x", "y"), {}, values.arithmetic)
_COMPARISON = Operator(("x", "y"), {}, values.comparison)
_REDUCTION = {"dim": "ints", "keepdim": "bool"}
_CONVOLUTION = {"stride": "ints", "padding": "ints", "dilation": "ints", "groups": "int"}

_UNARY = (
    "abs", "ceil", "cos", "erf", "exp", "expm1", "floor", "hardsigmoid", "hardswish", "log", "log1p", "mish", "neg", "reciprocal",
    "relu", "round", "rsqrt", "sigmoid", "sign", "silu", "sin", "sqrt", "tanh",
)
_ARITHMETIC = ("add", "div", "maximum", "minimum", "mul", "pow", "sub")
_COMPARISONS = ("eq", "ge", "gt", "le", "lt", "ne")

ARITHMETIC = frozenset(f"aten.{name}" for name in (*_ARITHMETIC, *_COMPARISONS, "where"))
"""Operators one of whose inputs may be a number."""

_ATEN: dict[str, Operator] = {
    # Value by value.
    **dict.fromkeys(_UNARY, _unary()),
    "clamp": _unary(min="number?", max="number?"),
    "elu": _unary(alpha="float", scale="float", input_scale="float"),
    "gelu": _unary(approximate="none|tanh"),
    "leaky_relu": _unary(negative_slope="float"),
    "softplus": _unary(beta="float", threshold="float"),
    **dict.fromkeys(_ARITHMETIC, _BINARY),
    **dict.fromkeys(_COMPARISONS, _COMPARISON),
    "logical_not": Operator(("x",), {}, values.logical),
    "logical_and": Operator(("x", "y"), {}, values.logical),
    "logical_or": Operator(("x", "y"), {}, values.logical),
    "where": Operator(("condition", "x", "y"), {}, values.where),
    "_to_copy": Operator(("x",), {}, values.cast),
    # Over dimensions.
    "amax": Operator(("x",), _REDUCTION, values.reduction),
    "amin": Operator(("x",), _REDUCTION, values.reduction),
    "mean": Operator(("x",), _REDUCTION, values.reduction),
    "sum": Operator(("x",), _REDUCTION, values.reduction),
    "var": Operator(("x",), {**_REDUCTION, "correction": "float"}, values.reduction),
    "linalg_vector_norm": Operator(("x",), {**_REDUCTION, "ord": "float"}, values.reduction),
    "softmax": _unary(dim="int"),
    "log_softmax": _unary(dim="int"),
    # Layers.
    "conv2d": Operator(("x", "weight", "bias?"), _CONVOLUTION, layers.conv2d),
    "conv_transpose2d": Operator(
        ("x", "weight", "bias?"), {**_CONVOLUTION, "output_padding": "ints"}, layers.conv_transpose2d,
    ),
    "linear": Operator(("x", "weight", "bias?"), {}, layers.linear),
    "matmul": Operator(("x", "y"), {}, layers.matmul),
    "scaled_dot_product_attention": Operator(
        ("query", "key", "value", "mask?"), {"is_causal": "bool", "scale": "number?"}, layers.attention,
    ),
    "batch_norm": Operator(("x", "weight?", "bias?", "mean", "var"), {"eps": "float"}, layers.batch_norm),
    "group_norm": Operator(("x", "weight?", "bias?"), {"num_groups": "int", "eps": "float"}, layers.group_norm),
    "layer_norm": Operator(("x", "weight?", "bias?"), {"normalized_shape": "ints", "eps": "float"}, layers.layer_norm),
    "rms_norm": Operator(("x", "weight?"), {"normalized_shape": "ints", "eps": "float"}, layers.layer_norm),
    # Planes.
    "adaptive_avg_pool2d": Operator(("x",), {"output_size": "ints"}, planes.resized),
    "avg_pool2d": Operator(
        ("x",), {"kernel_size": "ints", "stride": "ints", "padding": "ints", "ceil_mode": "bool", "count_include_pad": "bool"},
        planes.pool,
    ),
    "max_pool2d": Operator(
        ("x",), {"kernel_size": "ints", "stride": "ints", "padding": "ints", "dilation": "ints", "ceil_mode": "bool"},
        planes.pool,
    ),
    "upsample_bilinear2d": Operator(("x",), {"output_size": "ints", "align_corners": "bool"}, planes.resized),
    "upsample_nearest2d": Operator(("x",), {"output_size": "ints"}, planes.resized),
    # Where values stand.
    "cat": Operator(("tensors*",), {"dim": "int"}, moves.cat),
    "expand": Operator(("x",), {}, moves.expand),
    "flip": _unary(dims="ints"),
    "full": Operator((), {"value": "float"}, moves.full),
    "index_select": Operator(("x", "index"), {"dim": "int"}, moves.index_select),
    "pad": Operator(("x",), {"pad": "ints", "mode": "constant|reflect|replicate", "value": "float"}, planes.pad),
    "permute": Operator(("x",), {"dims": "ints"}, moves.permute),
    "select": Operator(("x",), {"dim": "int", "index": "int"}, moves.select),
    "slice": Operator(("x",), {"dim": "int", "start": "int", "end": "int", "step": "int"}, moves.slice_),
    "view": Operator(("x",), {}, moves.view),
}

_QUANTIZED: dict[str, Operator] = {
    "quantize_per_tensor": Operator(
        ("x",), {"scale": "float", "zero_point": "int", "quant_min": "int", "quant_max": "int"}, moves.quantize,
    ),
    "dequantize_per_tensor": Operator(("x",), {"scale": "float", "zero_point": "int"}, moves.dequantize),
    "dequantize_per_channel": Operator(("x", "scales", "zero_points"), {"axis": "int"}, moves.dequantize_per_channel),
}

OPERATORS: Mapping[str, Operator] = {
    **{f"aten.{name}": operator for name, operator in _ATEN.items()},
    **{f"quantized_decomposed.{name}": operator for name, operator in _QUANTIZED.items()},
}
"""Every operator, by its name in a program."""
