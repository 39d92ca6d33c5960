"""A torch function for each operator of a program on real numbers."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sparkq.program.types import Node

__all__ = ["FLOAT_KERNELS", "IN_PLACE_KERNELS", "Kernel", "READS_IMAGES", "reshaped"]

Kernel = Callable[..., Tensor]

READS_IMAGES = ("aten.expand", "aten.full")
"""Operators whose kernel takes the batch of images as a further, first input: it tells their number."""

_UNARY: dict[str, Kernel] = {
    name: getattr(torch, name) for name in (
        "abs", "ceil", "cos", "erf", "exp", "expm1", "floor", "log", "log1p", "logical_not", "neg", "reciprocal", "relu", "round",
        "rsqrt", "sigmoid", "sign", "sin", "sqrt", "tanh",
    )
} | {"hardsigmoid": F.hardsigmoid, "hardswish": F.hardswish, "mish": F.mish, "silu": F.silu}
_BINARY = (
    "add", "div", "eq", "ge", "gt", "le", "lt", "logical_and", "logical_or", "maximum", "minimum", "mul", "ne", "pow", "sub",
)
_REDUCTIONS: dict[str, Callable[..., Tensor]] = {
    "amax": torch.amax, "amin": torch.amin, "mean": torch.mean, "sum": torch.sum, "var": torch.var,
    "linalg_vector_norm": torch.linalg.vector_norm,
}


def reshaped(node: Node) -> Kernel:
    """Return the kernel of a view: the one size that depends on the number of images is left to torch."""
    sizes = tuple(-1 if size < 0 else size for size in node.type.shape)
    if sizes.count(-1) > 1:
        raise ValueError("one size that depends on the number of images")
    return lambda x: x.reshape(sizes)


def _unary(node: Node) -> Kernel:
    return _UNARY[_plain(node)]


def _plain(node: Node) -> str:
    return node.operator.partition(".")[2]


def _binary(node: Node) -> Kernel:
    function: Kernel = getattr(torch, _plain(node))
    left, right = node.inputs
    if isinstance(left, str) and isinstance(right, str):
        return function
    if isinstance(left, str):
        return lambda x: function(x, right)
    # Only a few of torch's functions take a number first.
    first = torch.tensor(float(left or 0))
    return lambda y: function(first, y)


def _in_place(name: str) -> Callable[[Node], Kernel]:
    def build(node: Node) -> Kernel:
        function: Kernel = getattr(torch.Tensor, name)
        other = node.inputs[1]
        return function if isinstance(other, str) else lambda x: function(x, other)
    return build


def _where(node: Node) -> Kernel:
    numbers = [None if isinstance(given, str) else torch.tensor(float(given or 0)) for given in node.inputs[1:]]

    def kernel(condition: Tensor, *tensors: Tensor) -> Tensor:
        given = iter(tensors)
        x, y = (next(given) if number is None else number for number in numbers)
        return torch.where(condition, x, y)
    return kernel


def _bound(name: str, function: Callable[..., Tensor], **renamed: str) -> Callable[[Node], Kernel]:
    """Kernel of a function that takes the tensors first and every attribute by name."""
    def build(node: Node) -> Kernel:
        attributes: dict[str, Any] = {renamed.get(key, key): value for key, value in node.attributes.items()}
        return lambda *tensors: function(*tensors, **attributes)
    return build


def _reduction(node: Node) -> Kernel:
    return _bound(_plain(node), _REDUCTIONS[_plain(node)])(node)


def _optional(node: Node, function: Callable[..., Tensor]) -> Kernel:
    """Kernel of a function with inputs that may be left out, which then are None."""
    there = [given is not None for given in node.inputs]
    if all(there):
        return function

    def kernel(*tensors: Tensor) -> Tensor:
        given = iter(tensors)
        return function(*(next(given) if is_there else None for is_there in there))
    return kernel


def _conv2d(node: Node) -> Kernel:
    stride, padding, dilation, groups = (node.attribute(name) for name in ("stride", "padding", "dilation", "groups"))
    return _optional(node, lambda x, weight, bias: torch.conv2d(x, weight, bias, stride, padding, dilation, groups))


def _conv_transpose2d(node: Node) -> Kernel:
    stride, padding, more, groups, dilation = (
        node.attribute(name) for name in ("stride", "padding", "output_padding", "groups", "dilation")
    )
    return _optional(
        node,
        lambda x, weight, bias: torch.conv_transpose2d(x, weight, bias, stride, padding, more, groups, dilation),
    )


def _linear(node: Node) -> Kernel:
    return _optional(node, F.linear)


def _batch_norm(node: Node) -> Kernel:
    eps = node.attribute("eps")
    return _optional(
        node, lambda x, weight, bias, mean, var: torch.batch_norm(x, weight, bias, mean, var, False, 0.0, eps, False),
    )


def _group_norm(node: Node) -> Kernel:
    groups, eps = (node.attribute(name) for name in ("num_groups", "eps"))
    return _optional(node, lambda x, weight, bias: F.group_norm(x, groups, weight, bias, eps))


def _layer_norm(node: Node) -> Kernel:
    shape, eps = (node.attribute(name) for name in ("normalized_shape", "eps"))
    return _optional(node, lambda x, weight, bias: F.layer_norm(x, shape, weight, bias, eps))


def _rms_norm(node: Node) -> Kernel:
    shape, eps = (node.attribute(name) for name in ("normalized_shape", "eps"))
    return _optional(node, lambda x, weight: F.rms_norm(x, shape, weight, eps))


def _attention(node: Node) -> Kernel:
    is_causal, scale = (node.attribute(name) for name in ("is_causal", "scale"))
    return _optional(
        node, lambda query, key, value, mask: F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=is_causal, scale=scale,
        ),
    )


def _expand(node: Node) -> Kernel:
    return lambda images, x: x.expand(node.type.sizes(images.shape[0]))


def _full(node: Node) -> Kernel:
    value = node.attribute("value")
    return lambda images: torch.full(node.type.sizes(images.shape[0]), value)


def _cast(node: Node) -> Kernel:
    dtype: torch.dtype = getattr(torch, node.type.dtype)
    return lambda x: x.to(dtype)


def _cat(node: Node) -> Kernel:
    dim = node.attribute("dim")
    return lambda *tensors: torch.cat(tensors, dim)


def _slice(node: Node) -> Kernel:
    dim, start, end, step = (node.attribute(name) for name in ("dim", "start", "end", "step"))
    return lambda x: torch.ops.aten.slice.Tensor(x, dim, start, end, step)


def _index_select(node: Node) -> Kernel:
    dim = node.attribute("dim")
    return lambda x, index: torch.index_select(x, dim, index)


def _pad(node: Node) -> Kernel:
    pad, mode, value = (node.attribute(name) for name in ("pad", "mode", "value"))
    if mode == "constant":
        return lambda x: F.pad(x, pad, value=value)
    return lambda x: F.pad(x, pad, mode=mode)


def _upsample_bilinear(node: Node) -> Kernel:
    size, corners = node.attribute("output_size"), node.attribute("align_corners")
    return lambda x: F.interpolate(x, size=size, mode="bilinear", align_corners=corners)


def _upsample_nearest(node: Node) -> Kernel:
    size = node.attribute("output_size")
    return lambda x: F.interpolate(x, size=size, mode="nearest")


FLOAT_KERNELS: dict[str, Callable[[Node], Kernel]] = {
    f"aten.{name}": build for name, build in {
        **dict.fromkeys(_UNARY, _unary), **dict.fromkeys(_BINARY, _binary), **dict.fromkeys(_REDUCTIONS, _reduction),
        "_to_copy": _cast, "where": _where, "clamp": _bound("clamp", torch.clamp), "gelu": _bound("gelu", F.gelu),
        "elu": _bound("elu", torch.ops.aten.elu), "leaky_relu": _bound("leaky_relu", F.leaky_relu),
        "softplus": _bound("softplus", F.softplus), "softmax": _bound("softmax", torch.softmax),
        "log_softmax": _bound("log_softmax", torch.log_softmax),
        "conv2d": _conv2d, "conv_transpose2d": _conv_transpose2d, "linear": _linear,
        "matmul": _bound("matmul", torch.matmul), "scaled_dot_product_attention": _attention,
        "batch_norm": _batch_norm, "group_norm": _group_norm, "layer_norm": _layer_norm, "rms_norm": _rms_norm,
        "adaptive_avg_pool2d": _bound("adaptive_avg_pool2d", F.adaptive_avg_pool2d),
        "avg_pool2d": _bound("avg_pool2d", F.avg_pool2d), "max_pool2d": _bound("max_pool2d", F.max_pool2d),
        "upsample_bilinear2d": _upsample_bilinear, "upsample_nearest2d": _upsample_nearest,
        "cat": _cat, "expand": _expand, "flip": _bound("flip", torch.flip), "full": _full, "index_select": _index_select,
        "pad": _pad, "permute": _bound("permute", torch.permute), "select": _bound("select", torch.select), "slice": _slice,
        "view": reshaped,
    }.items()
}
"""By operator, from a node to the function of its tensors."""

IN_PLACE_KERNELS: dict[str, Callable[[Node], Kernel]] = {
    "aten.add": _in_place("add_"), "aten.mul": _in_place("mul_"), "aten.sub": _in_place("sub_"), "aten.div": _in_place("div_"),
}
"""By operator, a kernel that writes over its first tensor: memory for a batch of pixels in float costs as much as the sum."""
