"""Types of layers: convolutions, products of matrices, attention and norms."""
from __future__ import annotations

import math

from sparkq.program.shapes.call import Call, Result, broadcast, expect, positive

__all__ = [
    "attention", "batch_norm", "conv2d", "conv_transpose2d", "group_norm", "layer_norm", "linear", "matmul",
]

# Of a transposed convolution: OpenVINO's compiler takes time and memory by the square, and ends the process at thousands.
_MOST_STRIDE = 256


def conv2d(call: Call) -> Result:
    """[N, C, H, W] and [O, C / groups, h, w] to [N, O, H', W']."""
    images, weight = call.tensor(0), call.tensor(1)
    expect(len(images) == len(weight) == 4, "two tensors of four dimensions")
    groups = call.number("groups")
    stride, padding, dilation = (call.ints(name, 2, least) for name, least in (("stride", 1), ("padding", 0), ("dilation", 1)))
    expect(groups >= 1 and weight[0] % groups == 0 and images[1] == weight[1] * groups, "channels that fit weight and groups")
    call.optional(2, weight[:1])
    sizes = tuple(
        (size + 2 * padding[axis] - dilation[axis] * (weight[2 + axis] - 1) - 1) // stride[axis] + 1
        for axis, size in enumerate(images[2:])
    )
    return "float32", (images[0], weight[0], *positive(sizes))


def conv_transpose2d(call: Call) -> Result:
    """[N, C, H, W] and [C, O / groups, h, w] to [N, O, H', W']."""
    images, weight = call.tensor(0), call.tensor(1)
    expect(len(images) == len(weight) == 4, "two tensors of four dimensions")
    groups = call.number("groups")
    stride, padding, dilation = (call.ints(name, 2, least) for name, least in (("stride", 1), ("padding", 0), ("dilation", 1)))
    more = call.ints("output_padding", 2, 0)
    expect(max(stride) <= _MOST_STRIDE, f"stride to be at most {_MOST_STRIDE}")
    expect(groups >= 1 and weight[0] % groups == 0 and images[1] == weight[0], "channels that fit weight and groups")
    expect(all(more[axis] < max(stride[axis], dilation[axis]) for axis in (0, 1)), "output_padding below stride or dilation")
    outputs = weight[1] * groups
    call.optional(2, (outputs,))
    sizes = tuple(
        (size - 1) * stride[axis] - 2 * padding[axis] + dilation[axis] * (weight[2 + axis] - 1) + more[axis] + 1
        for axis, size in enumerate(images[2:])
    )
    return "float32", (images[0], outputs, *positive(sizes))


def linear(call: Call) -> Result:
    """[..., K] and [C, K] to [..., C]."""
    rows, weight = call.tensor(0), call.tensor(1)
    expect(len(weight) == 2 and bool(rows) and rows[-1] == weight[1], "a weight [C, K] and rows of K values")
    call.optional(2, weight[:1])
    return "float32", (*rows[:-1], weight[0])


def matmul(call: Call) -> Result:
    """[..., M, K] and [..., K, P] to [..., M, P]."""
    left, right = call.tensor(0), call.tensor(1)
    expect(len(left) >= 2 and len(right) >= 2 and left[-1] == right[-2], "matrices whose inner sizes are equal")
    return "float32", (*broadcast(left[:-2], right[:-2]), left[-2], right[-1])


def attention(call: Call) -> Result:
    """[..., L, E], [..., S, E] and [..., S, V] to [..., L, V]."""
    query, key, value = (call.tensor(index) for index in range(3))
    expect(min(map(len, (query, key, value))) >= 2, "matrices")
    expect(query[-1] == key[-1] and key[-2] == value[-2], "a key for each value, as long as the queries")
    expect(query[:-2] == key[:-2] == value[:-2], "as many heads of each")
    scores = (*query[:-2], query[-2], key[-2])
    if call.inputs[3] is not None:
        expect(not call.number("is_causal"), "a mask or is_causal, not both")
        expect(len(call.tensor(3, "float32", "bool")) >= 2, "a mask of queries and keys")
        expect(broadcast(scores, call.tensor(3, "float32", "bool")) == scores, f"a mask that broadcasts to {list(scores)}")
    return "float32", (*query[:-1], value[-1])


def batch_norm(call: Call) -> Result:
    """[N, C, ...], normalized by channel with the numbers given."""
    shape = call.tensor(0)
    expect(len(shape) >= 2, "a tensor with channels")
    call.optional(1, shape[1:2])
    call.optional(2, shape[1:2])
    expect(call.tensor(3) == call.tensor(4) == shape[1:2], "a mean and a variance for each channel")
    _check_eps(call)
    return "float32", shape


def group_norm(call: Call) -> Result:
    """[N, C, ...], normalized in groups of channels."""
    shape = call.tensor(0)
    groups = call.number("num_groups")
    expect(len(shape) >= 2 and groups >= 1 and shape[1] % groups == 0, "channels that num_groups divides")
    expect(math.prod(shape[1:]) > groups, "groups of more than one value")
    _check_eps(call)
    call.optional(1, shape[1:2])
    call.optional(2, shape[1:2])
    return "float32", shape


def layer_norm(call: Call) -> Result:
    """[..., *normalized_shape], normalized over the last dimensions."""
    shape, normalized = call.tensor(0), call.number("normalized_shape")
    expect(bool(normalized) and shape[len(shape) - len(normalized):] == normalized, "a tensor that ends with normalized_shape")
    for index in range(1, len(call.inputs)):
        call.optional(index, normalized)
    _check_eps(call)
    return "float32", shape


def _check_eps(call: Call) -> None:
    expect(0 <= call.number("eps") < math.inf, "eps from zero")
