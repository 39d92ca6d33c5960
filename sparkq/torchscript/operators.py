"""The operators that the code of a payload may call: they compute with tensors, and none reads or writes a file.

Collected from payloads of every recipe and task, of the architectures of torchvision and timm, completed by PyTorch's Core ATen
operators that compute a tensor from tensors and numbers, and their kin. Gradients, random numbers, views of raw memory, and
operators with a file, a message or a device are left out.
"""
from __future__ import annotations

import re

__all__ = ["FUNCTIONS", "LOADING", "METHODS", "PACKED_CLASSES", "is_operator"]

_ATEN = frozenset("""
    abs acos acosh adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d add
    addcdiv addcmul addmm all amax amin __and__ any append arange argmax argmin argsort asin asinh atan atan2 atanh avg_pool1d
    avg_pool2d avg_pool3d baddbmm batch_norm bitwise_and bitwise_not bitwise_or bitwise_xor bmm Bool broadcast_tensors
    broadcast_to bucketize cat ceil celu channel_shuffle chunk clamp clamp_max clamp_min clip clone col2im complex concat
    concatenate constant_pad_nd __contains__ contiguous conv1d conv2d conv3d conv_transpose1d conv_transpose2d _convolution
    convolution copysign cos cosh cumprod cumsum dequantize __derive_index detach device diag diag_embed diagonal dim div divide
    dropout einsum elu embedding embedding_bag eq erf erfc exp exp2 expand expand_as expm1 eye feature_dropout fft_fft fft_fft2
    fft_fftn fft_fftshift fft_ifft fft_ifft2 fft_ifftn fft_ifftshift fft_irfft fft_irfft2 fft_irfftn fft_rfft fft_rfft2
    fft_rfftn fill flatten flip fliplr flipud Float FloatImplicit floor floor_divide floordiv fmax fmin fmod full full_like
    gather ge gelu __getitem__ glu greater greater_equal grid_sampler grid_sampler_2d group_norm gt hardshrink hardsigmoid
    hardswish hardtanh heaviside hsplit hstack hypot im2col imag index index_add index_fill index_put index_select instance_norm
    Int int_repr IntImplicit __is__ isfinite isinf isnan __isnot__ item layer_norm le leaky_relu len lerp less less_equal
    linalg_norm linalg_vector_norm linear linspace list log log10 log1p log2 log_sigmoid _log_softmax log_softmax logaddexp
    logcumsumexp logical_and logical_not logical_or logical_xor logsumexp lt masked_fill masked_scatter matmul max max_pool1d
    max_pool2d max_pool3d maximum mean median meshgrid min minimum mish mm moveaxis movedim mul multiply nan_to_num narrow
    native_batch_norm native_group_norm native_layer_norm _native_multi_head_attention ne neg negative new_full new_ones
    new_zeros norm __not__ not_equal numel one_hot ones ones_like __or__ pad permute pixel_shuffle pixel_unshuffle pow prelu
    prod q_scale q_zero_point quantize_per_channel quantize_per_tensor quantize_per_tensor_dynamic __range_length real
    reciprocal reflection_pad1d reflection_pad2d reflection_pad3d relu relu6 remainder repeat repeat_interleave
    replication_pad1d replication_pad2d replication_pad3d reshape reshape_as resolve_conj resolve_neg rms_norm roll rot90 round
    rsqrt rsub scalar_tensor ScalarImplicit scaled_dot_product_attention scatter scatter_add scatter_reduce searchsorted select
    select_scatter selu sigmoid sign silu sin sinc sinh size slice slice_scatter _softmax softmax softplus softshrink sort split
    split_with_sizes sqrt square squeeze stack std std_mean sub subtract sum swapaxes swapdims sym_size t take take_along_dim
    tan tanh tensor_split tensordot threshold tile to topk _transformer_encoder_layer_fwd transpose tril triu true_divide trunc
    type_as unbind unflatten unfold unsafe_chunk unsafe_split _unsafe_view unsqueeze upsample_bicubic2d _upsample_bicubic2d_aa
    upsample_bilinear2d _upsample_bilinear2d_aa upsample_linear1d upsample_nearest1d upsample_nearest2d var var_mean view
    view_as view_as_complex view_as_real vsplit vstack _weight_norm where xlogy __xor__ zero zeros zeros_like
""".split())
"""``torch.NAME``; a name with an underscore at its end is the same operator in place."""

_OTHERS = frozenset("""
    onednn.qconv_pointwise onednn.qconv_prepack onednn.qlinear_pointwise onednn.qlinear_prepack prim.NumToTensor
    prim.RaiseException prim.data prim.device prim.dtype prim.max prim.min quantized.add quantized.add_relu
    quantized.add_scalar quantized.batch_norm2d quantized.batch_norm2d_relu quantized.cat quantized.cat_relu quantized.celu
    quantized.conv2d quantized.conv2d_add quantized.conv2d_add_relu quantized.conv2d_relu quantized.conv_transpose1d
    quantized.conv_transpose2d quantized.elu quantized.group_norm quantized.hardswish quantized.instance_norm
    quantized.layer_norm quantized.leaky_relu quantized.linear quantized.linear_dynamic quantized.linear_leaky_relu
    quantized.linear_relu quantized.linear_tanh quantized.matmul quantized.max_pool1d quantized.max_pool2d quantized.mul
    quantized.mul_relu quantized.mul_scalar quantized.prelu quantized.relu6 quantized.sigmoid quantized.softmax
    quantized.threshold
""".split())
"""``ops.NAMESPACE.NAME``."""

LOADING = frozenset("""
    ops.prim.RaiseException ops.quantized.conv1d_prepack ops.quantized.conv2d_prepack ops.quantized.conv3d_prepack
    ops.quantized.conv_transpose1d_prepack ops.quantized.conv_transpose2d_prepack ops.quantized.linear_prepack
    ops.quantized.linear_prepack_fp16 ops.quantized.linear_unpack ops.quantized.linear_unpack_fp16
    torch.__is__ torch.__isnot__ torch.dequantize torch.eq torch.ne annotate getattr uninitialized
""".split())
"""Operators that may be called before a payload is asked for anything: packing of weights, in torch's own quantized layers."""

FUNCTIONS = frozenset({"annotate", "bool", "float", "getattr", "int", "uninitialized", "unchecked_cast"})
"""Names that torch itself gives a meaning."""

METHODS = re.compile(r"forward\d*|_weight_bias|set_weight_bias|unpack")
"""Members that may be called; no operator has such a name, so that a string has none."""

PACKED_CLASSES = frozenset({
    "quantized.Conv2dPackedParamsBase", "quantized.Conv3dPackedParamsBase", "quantized.LinearPackedParamsBase",
})
"""Classes of C++ that a payload may name: packed weights."""


def is_operator(name: str) -> bool:
    """Whether a name, as it is called in a payload's source, is that of an operator on the lists."""
    namespace, _, operator = name.partition(".")
    if namespace == "ops":
        return operator in _OTHERS or f"ops.{operator}" in LOADING
    return namespace == "torch" and (operator in _ATEN or operator.endswith("_") and operator[:-1] in _ATEN)
