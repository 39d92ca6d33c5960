"""Cases of every operator, each with what torch says of it: the interpreter, engines and exports are held against them."""
from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from sparkq.program.types import Array, Attribute, Program, ValueType
from tests.program.samples import one_operator

__all__ = ["CASES", "Case"]


@dataclass(frozen=True)
class Case:
    """One operator on constants.

    Parameters
    ----------
    operator : str
        Its name in a program.
    inputs : sequence of ndarray, float or None
        Constants and numbers.
    expected : callable
        The same in torch, of tensors (float64 for float32), numbers and None.
    attributes : dict
        Of the node.
    declared : ValueType, optional
        For operators that take their shape from it.
    """

    operator: str
    inputs: Sequence[Array | float | None]
    expected: Callable[..., Tensor]
    attributes: dict[str, Attribute] = field(default_factory=dict)
    declared: ValueType | None = None

    def program(self) -> Program:
        """The program of this operator alone."""
        return one_operator(self.operator, self.inputs, self.attributes, declared=self.declared)

    def answer(self) -> Array:
        """What torch computes, in double precision."""
        given = [
            torch.from_numpy(array.astype(np.float64) if array.dtype == np.float32 else array) if isinstance(array, np.ndarray)
            else array for array in self.inputs
        ]
        result: Array = self.expected(*given).numpy()
        return result


def _random(*shape: int, seed: int = 0, low: float = -3.0, high: float = 3.0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


X, Y = _random(2, 3, 7, 6), _random(2, 3, 7, 6, seed=1)
POSITIVE = _random(2, 3, 5, low=0.1)
PLANES = _random(2, 4, 9, 8)
TRUTH = X > 0
INTEGERS = np.random.default_rng(0).integers(0, 256, (2, 3, 5), dtype=np.uint8)
_POSITIVE_ONLY = ("log", "log1p", "rsqrt", "sqrt", "reciprocal")
_ATEN: Any = torch.ops.aten


def _unary() -> dict[str, Case]:
    names = """abs ceil cos erf exp expm1 floor hardsigmoid hardswish log log1p mish neg reciprocal relu round rsqrt sigmoid sign
        silu sin sqrt tanh""".split()
    return {
        name: Case(f"aten.{name}", [POSITIVE if name in _POSITIVE_ONLY else np.concatenate([X, X * 3])], getattr(_ATEN, name))
        for name in names
    }


def _binary() -> dict[str, Case]:
    cases = {}
    for name in "add div maximum minimum mul sub eq ge gt le lt ne".split():
        function = getattr(torch, name)
        cases[f"{name} tensors"] = Case(f"aten.{name}", [X, _random(3, 1, 6, seed=2)], function)
        if name not in ("maximum", "minimum"):
            cases[f"{name} number"] = Case(f"aten.{name}", [X, 1.5], function)
    cases["sub from number"] = Case("aten.sub", [1.5, X], lambda number, x: number - x)
    cases["div of number"] = Case("aten.div", [1.5, POSITIVE], lambda number, x: number / x)
    cases["eq of equals"] = Case("aten.eq", [np.rint(X), np.rint(Y)], torch.eq)
    cases["pow"] = Case("aten.pow", [POSITIVE, 1.7], torch.pow)
    cases["pow of tensors"] = Case("aten.pow", [POSITIVE, _random(5, seed=4)], torch.pow)
    cases["where"] = Case("aten.where", [TRUTH, X, Y], torch.where)
    cases["where with a number"] = Case(
        "aten.where", [TRUTH, X, -5.0], lambda condition, x, y: torch.where(condition, x, torch.tensor(y).double()),
    )
    cases["logical_not"] = Case("aten.logical_not", [TRUTH], torch.logical_not)
    cases["logical_and"] = Case("aten.logical_and", [TRUTH, Y > 1], torch.logical_and)
    cases["logical_or"] = Case("aten.logical_or", [TRUTH, Y > 1], torch.logical_or)
    return cases


def _with_attributes(operator: str, function: Callable[..., Tensor], *inputs: Array | None, **attributes: Attribute) -> Case:
    return Case(f"aten.{operator}", inputs, functools.partial(function, **attributes), dict(attributes))


def _parametrized() -> dict[str, Case]:
    cases = {
        "clamp": _with_attributes("clamp", torch.clamp, X, min=-0.5, max=1.0),
        "clamp below": _with_attributes("clamp", torch.clamp, X, min=-0.5, max=None),
        "clamp above": _with_attributes("clamp", torch.clamp, X, min=None, max=1.0),
        "elu": _with_attributes("elu", _ATEN.elu, X, alpha=1.3, scale=1.1, input_scale=0.7),
        "gelu": _with_attributes("gelu", F.gelu, X, approximate="none"),
        "gelu by tanh": _with_attributes("gelu", F.gelu, X, approximate="tanh"),
        "leaky_relu": _with_attributes("leaky_relu", F.leaky_relu, X, negative_slope=0.1),
        "softplus": _with_attributes("softplus", F.softplus, np.concatenate([X, X * 20]), beta=1.5, threshold=10.0),
        "softmax": _with_attributes("softmax", torch.softmax, X * 10, dim=2),
        "softmax of the first": _with_attributes("softmax", torch.softmax, X, dim=0),
        "log_softmax": _with_attributes("log_softmax", torch.log_softmax, X * 10, dim=3),
        "to float": Case("aten._to_copy", [INTEGERS], Tensor.double, declared=ValueType("float32", (2, 3, 5))),
        "to bool": Case("aten._to_copy", [np.rint(X)], Tensor.bool, declared=ValueType("bool", X.shape)),
        "bool to float": Case("aten._to_copy", [TRUTH], Tensor.double, declared=ValueType("float32", X.shape)),
    }
    for name, function in (("amax", torch.amax), ("amin", torch.amin), ("mean", torch.mean), ("sum", torch.sum)):
        cases[f"{name} of planes"] = _with_attributes(name, function, X, dim=(2, 3), keepdim=False)
        cases[f"{name} of one"] = _with_attributes(name, function, X, dim=(1,), keepdim=True)
    cases["var"] = _with_attributes("var", torch.var, X, dim=(1, 3), keepdim=True, correction=1.0)
    cases["var without correction"] = _with_attributes("var", torch.var, X, dim=(2,), keepdim=False, correction=0.0)
    for order in (1.0, 2.0, 3.0, float("inf")):
        cases[f"norm {order}"] = _with_attributes(
            "linalg_vector_norm", torch.linalg.vector_norm, X, dim=(1,), keepdim=True, ord=order,
        )
    return cases


def _conv(stride: int, padding: int, dilation: int, groups: int, *, bias: bool, kernel: tuple[int, int] = (3, 2)) -> Case:
    weight = _random(8, 4 // groups, *kernel, seed=3)
    attributes: dict[str, Attribute] = {
        "stride": (stride, 1), "padding": (padding, padding), "dilation": (dilation, 1), "groups": groups,
    }
    return Case(
        "aten.conv2d", [PLANES, weight, _random(8, seed=5) if bias else None],
        lambda x, weight, bias: torch.conv2d(x, weight, bias, **attributes), attributes,  # type: ignore[arg-type]
    )


def _transposed(stride: int, padding: int, more: int, groups: int, dilation: int = 1) -> Case:
    attributes: dict[str, Attribute] = {
        "stride": (stride, 2), "padding": (padding, 0), "output_padding": (more, 0), "groups": groups, "dilation": (dilation, 1),
    }
    return Case(
        "aten.conv_transpose2d", [PLANES, _random(4, 6 // groups, 3, 2, seed=3), _random(6, seed=5)],
        lambda x, weight, bias: torch.conv_transpose2d(x, weight, bias, **attributes), attributes,  # type: ignore[arg-type]
    )


def _layers() -> dict[str, Case]:
    query, key, value = (_random(2, 4, rows, 8, seed=seed) for seed, rows in enumerate((5, 6, 6)))
    cases = {
        "conv2d": _conv(1, 1, 1, 1, bias=True), "conv2d stride": _conv(2, 1, 1, 1, bias=False),
        "conv2d dilation": _conv(1, 2, 2, 2, bias=True), "conv2d depthwise": _conv(2, 1, 1, 4, bias=True),
        "conv2d 1x1": _conv(1, 0, 1, 1, bias=True, kernel=(1, 1)),
        "conv_transpose2d": _transposed(2, 1, 1, 1), "conv_transpose2d groups": _transposed(3, 0, 0, 2, dilation=2),
        "linear": Case("aten.linear", [_random(5, 3, 7), _random(4, 7, seed=1), _random(4, seed=2)], F.linear),
        "linear without bias": Case("aten.linear", [_random(5, 7), _random(4, 7, seed=1), None], F.linear),
        "matmul": Case("aten.matmul", [_random(2, 1, 5, 3), _random(4, 3, 6, seed=1)], torch.matmul),
        "batch_norm": Case(
            "aten.batch_norm", [X, _random(3), _random(3, seed=1), _random(3, seed=2), _random(3, seed=3, low=0.1)],
            lambda x, w, b, mean, var: F.batch_norm(x, mean, var, w, b, eps=1e-3), {"eps": 1e-3},
        ),
        "batch_norm of rows": Case(
            "aten.batch_norm", [_random(5, 3), None, None, _random(3, seed=2), _random(3, seed=3, low=0.1)],
            lambda x, w, b, mean, var: F.batch_norm(x, mean, var, eps=1e-5), {"eps": 1e-5},
        ),
        "group_norm": Case(
            "aten.group_norm", [PLANES, _random(4), _random(4, seed=1)], lambda x, w, b: F.group_norm(x, 2, w, b, 1e-4),
            {"num_groups": 2, "eps": 1e-4},
        ),
        "layer_norm": Case(
            "aten.layer_norm", [X, _random(7, 6), _random(7, 6, seed=1)], lambda x, w, b: F.layer_norm(x, (7, 6), w, b, 1e-4),
            {"normalized_shape": (7, 6), "eps": 1e-4},
        ),
        "layer_norm plain": Case(
            "aten.layer_norm", [X, None, None], lambda x, w, b: F.layer_norm(x, (6,), eps=1e-6),
            {"normalized_shape": (6,), "eps": 1e-6},
        ),
        "rms_norm": Case(
            "aten.rms_norm", [X, _random(6)], lambda x, w: F.rms_norm(x, (6,), w, 1e-5), {"normalized_shape": (6,), "eps": 1e-5},
        ),
    }
    masks: dict[str, tuple[Array | None, bool, float | None]] = {
        "": (None, False, None), " with a scale": (None, False, 0.3), " that is causal": (None, True, None),
        " with a mask": (_random(4, 5, 6, seed=9), False, None), " of what is true": (_random(5, 6, seed=8) > -1, False, None),
    }
    for name, (mask, is_causal, scale) in masks.items():
        cases[f"attention{name}"] = Case(
            "aten.scaled_dot_product_attention", [query, key, value, mask],
            functools.partial(_attention, is_causal=is_causal, scale=scale), {"is_causal": is_causal, "scale": scale},
        )
    return cases


def _attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *, is_causal: bool, scale: float | None) -> Tensor:
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=is_causal, scale=scale)


def _pool(operator: str, **attributes: Attribute) -> Case:
    function = F.max_pool2d if operator == "max_pool2d" else F.avg_pool2d
    return _with_attributes(operator, function, PLANES, **attributes)


def _planes() -> dict[str, Case]:
    cases: dict[str, Case] = {}
    for ceil in (False, True):
        cases[f"max_pool2d {ceil}"] = _pool(
            "max_pool2d", kernel_size=(3, 2), stride=(2, 3), padding=(1, 1), dilation=(1, 1), ceil_mode=ceil,
        )
        for counted in (False, True):
            cases[f"avg_pool2d {ceil} {counted}"] = _pool(
                "avg_pool2d", kernel_size=(3, 2), stride=(2, 3), padding=(1, 1), ceil_mode=ceil, count_include_pad=counted,
            )
    cases["max_pool2d dilated"] = _pool(
        "max_pool2d", kernel_size=(2, 2), stride=(1, 2), padding=(0, 1), dilation=(3, 2), ceil_mode=False,
    )
    for size in ((4, 3), (1, 1)):
        cases[f"adaptive_avg_pool2d {size}"] = _with_attributes(
            "adaptive_avg_pool2d", F.adaptive_avg_pool2d, PLANES, output_size=size,
        )
    for size in ((18, 16), (13, 5), (3, 4), (46, 41)):
        cases[f"nearest {size}"] = Case(
            "aten.upsample_nearest2d", [PLANES], functools.partial(F.interpolate, size=size, mode="nearest"),
            {"output_size": size},
        )
        for corners in (False, True):
            cases[f"bilinear {size} {corners}"] = Case(
                "aten.upsample_bilinear2d", [PLANES],
                functools.partial(F.interpolate, size=size, mode="bilinear", align_corners=corners),
                {"output_size": size, "align_corners": corners},
            )
    cases["pad"] = _padded("constant", (1, 2, 0, 3), value=0.5)
    cases["pad channels"] = _padded("constant", (0, 0, 0, 0, 2, 1))
    cases["crop"] = _padded("constant", (-1, 2, 1, -2))
    cases["pad reflect"], cases["pad replicate"] = _padded("reflect", (1, 2, 3, 0)), _padded("replicate", (1, 2, 3, 0))
    return cases


def _padded(mode: str, pad: tuple[int, ...], value: float = 0.0) -> Case:
    given: dict[str, Any] = {"value": value} if mode == "constant" else {}
    return Case(
        "aten.pad", [X], functools.partial(F.pad, pad=pad, mode=mode, **given), {"pad": pad, "mode": mode, "value": value},
    )


def _moves() -> dict[str, Case]:
    return {
        "cat": Case("aten.cat", [X, Y[:, :2], X], lambda *tensors: torch.cat(tensors, 1), {"dim": 1}),
        "expand": Case(
            "aten.expand", [_random(3, 1, 2)], lambda x: x.expand(4, 3, 5, 2), declared=ValueType("float32", (4, 3, 5, 2)),
        ),
        "flip": Case("aten.flip", [X], lambda x: x.flip((1, 3)), {"dims": (1, 3)}),
        "flip integers": Case("aten.flip", [INTEGERS], lambda x: x.flip(2), {"dims": (2,)}),
        "full": Case("aten.full", [], lambda: torch.full((2, 3), 1.5).double(), {"value": 1.5}, ValueType("float32", (2, 3))),
        "index_select": Case(
            "aten.index_select", [X, np.array([2, 0, 2, 1])], lambda x, index: x.index_select(1, index), {"dim": 1},
        ),
        "permute": Case("aten.permute", [X], lambda x: x.permute(0, 2, 3, 1), {"dims": (0, 2, 3, 1)}),
        "select": Case("aten.select", [X], lambda x: x.select(2, 4), {"dim": 2, "index": 4}),
        "slice": Case("aten.slice", [X], lambda x: x[:, :, 1:6:2], {"dim": 2, "start": 1, "end": 6, "step": 2}),
        "view": Case("aten.view", [X], lambda x: x.reshape(6, 42), declared=ValueType("float32", (6, 42))),
        "view integers": Case("aten.view", [INTEGERS], lambda x: x.reshape(30), declared=ValueType("uint8", (30,))),
    }


def _rounded(x: Tensor, levels: tuple[float, int, int, int]) -> Tensor:
    scale, zero_point, low, high = levels
    return (torch.round(x / scale) + zero_point).clamp(low, high).to(torch.uint8)


def _quantized() -> dict[str, Case]:
    names = ("scale", "zero_point", "quant_min", "quant_max")
    weight = np.random.default_rng(3).integers(-128, 128, (4, 3, 2, 2), dtype=np.int8)
    return {
        **{
            f"quantize {values}": Case(
                "quantized_decomposed.quantize_per_tensor", [X], functools.partial(_rounded, levels=values),
                dict(zip(names, values, strict=True)),
            )
            for values in ((0.02, 128, 0, 255), (0.01, 0, 0, 255), (0.05, 30, 0, 127))
        },
        "dequantize": Case(
            "quantized_decomposed.dequantize_per_tensor", [INTEGERS], lambda x: (x.double() - 7) * 0.25,
            {"scale": 0.25, "zero_point": 7},
        ),
        "weights": Case(
            "quantized_decomposed.dequantize_per_channel",
            [weight, np.array([0.5, 0.25, 0.125, 2.0]), np.array([0, 1, -3, 0])],
            lambda x, scales, zeros: (x.double() - zeros.view(4, 1, 1, 1)) * scales.view(4, 1, 1, 1), {"axis": 0},
        ),
    }


CASES: dict[str, Case] = {
    **_unary(), **_binary(), **_parametrized(), **_layers(), **_planes(), **_moves(), **_quantized(),
}
"""By name; every operator has at least one."""
