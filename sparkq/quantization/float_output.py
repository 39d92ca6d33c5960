"""The last linear layer answers in float: a thousand logits on 256 levels tie."""
from __future__ import annotations

import torch
from torch import Tensor, fx, nn
from torch.ao.nn import quantized as nnq
from torch.ao.nn.intrinsic import quantized as nniq

__all__ = ["LinearFloatOutput", "give_float_outputs"]


class LinearFloatOutput(nn.Module):
    """INT8 weights and inputs, float32 result: fbgemm's 32-bit sums are scaled, but not rounded to 8 bits.

    Parameters
    ----------
    linear : torch.ao.nn.quantized.Linear
        Its packed weights are taken over.
    input_scale : float
        Of the input, which is quantized here.
    input_zero_point : int
        Likewise.
    """

    def __init__(self, linear: nnq.Linear, input_scale: float, input_zero_point: int) -> None:
        super().__init__()
        self._packed_params = linear._packed_params
        self.input_scale = input_scale
        self.input_zero_point = input_zero_point

    def forward(self, x: Tensor) -> Tensor:
        """float32 [N, K] to float32 [N, C]."""
        result: Tensor = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
            x, self.input_scale, self.input_zero_point, self._packed_params._packed_params,
        )
        return result


def give_float_outputs(graph: fx.GraphModule) -> int:
    """Replace quantize, linear, dequantize by `LinearFloatOutput` wherever they stand in a row.

    Returns
    -------
    int
        How many were replaced.
    """
    replaced = 0
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
        user.replace_all_uses_with(node)
        graph.graph.erase_node(user)
        replaced += 1
    graph.graph.eliminate_dead_code()
    graph.graph.lint()
    graph.recompile()
    return replaced


def _constant(graph: fx.GraphModule, argument: object) -> float:
    if isinstance(argument, fx.Node):
        return float(getattr(graph, str(argument.target)))
    return float(argument)  # type: ignore[arg-type]
