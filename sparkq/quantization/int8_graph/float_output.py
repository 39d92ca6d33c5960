"""Float outputs: the last linear layer answers in float.

- On 256 levels a thousand logits tie, and the label depends on the order of equals.
- Weights and inputs stay INT8; the sums of integers, exact, are scaled to float32 and not rounded to 8 bits.
"""
from __future__ import annotations

import torch
from torch import Tensor, fx, nn
from torch.ao.nn import quantized as nnq
from torch.ao.nn.intrinsic import quantized as nniq
from torch.nn import functional as F

from sparkq.quantization.graph_edits import finish, pass_by

__all__ = ["LinearFloatOutput", "give_float_outputs"]

_EXACT_IN_FLOAT32 = 2**24
_LARGEST_PRODUCT = 255 * 127


class LinearFloatOutput(nn.Module):
    """INT8 weights and inputs, float32 result: integer sums that are scaled, but not rounded to 8 bits.

    torch's operator for this exists in fbgemm alone, and the payload is for every engine. So the integers are multiplied
    as floating-point numbers wide enough to hold each sum exactly: the order of summation, and with it the batch, cannot
    show. Last layers are a thousandth of a network's work.

    Parameters
    ----------
    linear : torch.ao.nn.quantized.Linear
        Its weights (symmetric, an output channel each) and bias are taken over.
    input_scale : float
        Of the input, which is quantized here.
    input_zero_point : int
        Likewise.
    """

    weight: Tensor
    scale: Tensor
    bias: Tensor

    def __init__(self, linear: nnq.Linear, input_scale: float, input_zero_point: int) -> None:
        super().__init__()
        weight, bias = linear._weight_bias()  # type: ignore[no-untyped-call]
        self.input_scale = input_scale
        self.input_zero_point = input_zero_point
        largest = weight.shape[1] * _LARGEST_PRODUCT
        self.exact = torch.float32 if largest < _EXACT_IN_FLOAT32 else torch.float64
        self.quantized_weight = weight
        self.register_buffer("weight", weight.int_repr())
        self.register_buffer("scale", weight.q_per_channel_scales() * input_scale)
        self.register_buffer("bias", torch.zeros(weight.shape[0]) if bias is None else bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """float32 [N, K] to float32 [N, C]."""
        steps = torch.round(x * (1 / self.input_scale)) + self.input_zero_point
        steps = torch.clamp(steps, 0, 255) - self.input_zero_point
        sums = torch.matmul(steps.to(self.exact), self.weight.to(self.exact).t())
        return (sums * self.scale).to(torch.float32) + self.bias

    def reference(self, x: Tensor) -> Tensor:
        """Run the operators that say what `forward` means, as a program has them: the products of dequantized values."""
        rounded = torch.quantize_per_tensor(x, self.input_scale, self.input_zero_point, torch.quint8).dequantize()
        return F.linear(rounded, self.quantized_weight.dequantize(), self.bias)


def give_float_outputs(graph: fx.GraphModule) -> None:
    """Replace quantize, linear, dequantize by `LinearFloatOutput` wherever they stand in a row."""
    for node in list(graph.graph.nodes):
        linear = graph.get_submodule(str(node.target)) if node.op == "call_module" else None
        if not isinstance(linear, nnq.Linear) or isinstance(linear, nniq.LinearReLU):
            continue
        source, user = node.args[0], next(iter(node.users))
        if len(node.users) != 1 or user.target != "dequantize" or source.target is not torch.quantize_per_tensor:
            continue
        scale, zero_point = (_constant(graph, argument) for argument in source.args[1:3])
        graph.set_submodule(str(node.target), LinearFloatOutput(linear, float(scale), int(zero_point)))
        node.replace_input_with(source, source.args[0])
        pass_by(user)
    graph.graph.eliminate_dead_code()
    finish(graph)


def _constant(graph: fx.GraphModule, argument: object) -> float:
    if isinstance(argument, fx.Node):
        return float(getattr(graph, str(argument.target)))
    return float(argument)  # type: ignore[arg-type]
