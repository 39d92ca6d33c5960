"""Converters of layers: convolutions, products of matrices, attention and norms."""
from __future__ import annotations

from typing import Any

import numpy as np

from sparkq.engines.openvino_graph.call import Call, Converter, integers, number
from sparkq.engines.openvino_graph.library import ops

__all__ = ["LAYERS"]


def _by_channel(values: Any, rank: int) -> Any:
    """Let [C] stand along the second of `rank` dimensions."""
    return ops.reshape(values, integers([1, -1, *[1] * (rank - 2)]), False)


def _weight(call: Call) -> Any:
    """INT8 weights stay INT8 for an INT8 input alone: in front of them, OpenVINO would round any other to 8 bits."""
    weight = call.value(1)
    return weight.output if weight.decoded is None or call.value().grid is not None else ops.constant(weight.decoded())


def _grouped(call: Call) -> Any:
    """Weights [A, B, h, w] as [groups, A / groups, B, h, w], OpenVINO's order for both kinds of convolutions in groups."""
    rows, *others = call.type(1).shape
    return ops.reshape(_weight(call), integers([call["groups"], rows // call["groups"], *others]), False)


def _with_bias(result: Any, call: Call) -> Any:
    bias = call.optional(2)
    return result if bias is None else ops.add(result, _by_channel(bias, 4))


def _conv2d(call: Call) -> Any:
    strides, padding, dilations = (list(call[name]) for name in ("stride", "padding", "dilation"))
    if call["groups"] == 1:
        result = ops.convolution(call.tensor(), _weight(call), strides, padding, padding, dilations)
    else:
        result = ops.group_convolution(call.tensor(0), _grouped(call), strides, padding, padding, dilations)
    return _with_bias(result, call)


def _conv_transpose2d(call: Call) -> Any:
    strides, padding, dilations, more = (list(call[name]) for name in ("stride", "padding", "dilation", "output_padding"))
    settings = {"pads_begin": padding, "pads_end": padding, "dilations": dilations, "output_padding": more}
    if call["groups"] == 1:
        result = ops.convolution_backprop_data(call.tensor(), _weight(call), strides, **settings)
    else:
        result = ops.group_convolution_backprop_data(call.tensor(0), _grouped(call), strides, **settings)
    return _with_bias(result, call)


def _linear(call: Call) -> Any:
    result = ops.matmul(call.tensor(), _weight(call), False, True)
    bias = call.optional(2)
    return result if bias is None else ops.add(result, bias)


def _attention(call: Call) -> Any:
    tensors = [call.tensor(index) for index in range(3)]
    scale = call["scale"]
    if scale is None:
        scale = call.type(0).shape[-1] ** -0.5
    # Its node takes batches of matrices only.
    is_plain = len(call.type(0).shape) == 2
    if is_plain:
        tensors = [ops.unsqueeze(tensor, integers([0])) for tensor in tensors]
    mask = call.optional(3)
    if mask is None:
        mask = number(0)
    result = ops.scaled_dot_product_attention(*tensors, mask, number(scale), causal=call["is_causal"])
    return ops.squeeze(result, integers([0])) if is_plain else result


def _batch_norm(call: Call) -> Any:
    """``x * factor + shift``, the two computed in float64 where everything is known."""
    rank, channels = len(call.type().shape), call.type().shape[1]
    arrays = [None if given is None else call.value(index).array for index, given in enumerate(call.inputs)]
    if any(array is None for array, given in zip(arrays[1:], call.inputs[1:], strict=True) if given is not None):
        given = [call.optional(1), call.optional(2)]
        weight, bias = (ops.constant(np.full(channels, 1 - index, np.float32)) if found is None else found
                        for index, found in enumerate(given))
        return ops.batch_norm_inference(call.tensor(), weight, bias, call.tensor(3), call.tensor(4), call["eps"])
    weight, bias, mean, var = (None if array is None else np.float64(array) for array in arrays[1:])
    assert mean is not None and var is not None
    factor = (1 if weight is None else weight) / np.sqrt(var + call["eps"])
    shift = (0 if bias is None else bias) - mean * factor
    shape = 1, -1, *[1] * (rank - 2)
    scaled = ops.multiply(call.tensor(), ops.constant(factor.reshape(shape).astype(np.float32)))
    return ops.add(scaled, ops.constant(shift.reshape(shape).astype(np.float32)))


def _group_norm(call: Call) -> Any:
    channels = call.type().shape[1]
    weight, bias = (
        ops.constant(np.full(channels, absent, np.float32)) if call.inputs[index] is None else call.tensor(index)
        for index, absent in ((1, 1), (2, 0))
    )
    return ops.group_normalization(call.tensor(), weight, bias, call["num_groups"], call["eps"])


def _last_dims(call: Call) -> Any:
    return integers(range(-len(call["normalized_shape"]), 0))


def _scaled(result: Any, call: Call) -> Any:
    weight, bias = (call.optional(index) if index < len(call.inputs) else None for index in (1, 2))
    result = result if weight is None else ops.multiply(result, weight)
    return result if bias is None else ops.add(result, bias)


def _layer_norm(call: Call) -> Any:
    return _scaled(ops.mvn(call.tensor(), _last_dims(call), True, call["eps"], "inside_sqrt"), call)


def _rms_norm(call: Call) -> Any:
    x = call.tensor()
    mean = ops.reduce_mean(ops.multiply(x, x), _last_dims(call), True)
    return _scaled(ops.divide(x, ops.sqrt(ops.add(mean, number(call["eps"])))), call)


LAYERS: dict[str, Converter] = {
    "conv2d": _conv2d, "conv_transpose2d": _conv_transpose2d, "linear": _linear,
    "matmul": lambda call: ops.matmul(call.tensor(), _weight(call), False, False), "scaled_dot_product_attention": _attention,
    "batch_norm": _batch_norm, "group_norm": _group_norm, "layer_norm": _layer_norm, "rms_norm": _rms_norm,
}
"""Converters by an ATen operator's name."""
