"""Named concatenations: those of INT8 tensors under the operator that every engine knows.

- torch's converter leaves ``torch.cat`` of INT8 tensors that share one scale. OpenVINO takes its result for float.
- ``quantized::cat`` with that scale and zero point gives the same integers, and says that they are integers.
"""
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from sparkq.quantization.graph_edits import finish

__all__ = ["name_concatenations"]


class _Recorder(fx.Interpreter):
    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.parameters: dict[fx.Node, tuple[float, int]] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Note the scale and zero point of each INT8 concatenation."""
        value = super().run_node(n)
        if n.target is torch.cat and isinstance(value, Tensor) and value.is_quantized:
            self.parameters[n] = value.q_scale(), value.q_zero_point()
        return value


def name_concatenations(quantized: fx.GraphModule, image: Tensor) -> None:
    """Replace ``torch.cat`` of INT8 tensors by ``quantized::cat``.

    Parameters
    ----------
    quantized : GraphModule
        From torch's convert_fx; changed in place. It computes what it did.
    image : Tensor
        Normalized, float32 [1, 3, H, W].
    """
    if not any(node.target is torch.cat for node in quantized.graph.nodes):
        return
    recorder = _Recorder(quantized)
    recorder.run(image)
    for node, (scale, zero_point) in recorder.parameters.items():
        dimension = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
        node.target = torch.ops.quantized.cat
        node.args, node.kwargs = (node.args[0] if node.args else node.kwargs["tensors"], dimension, scale, zero_point), {}
    finish(quantized)
