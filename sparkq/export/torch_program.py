"""A program as a torch program (``.pt2``), in operators of torch's own: INT8 reads as rounding and scaling of real numbers."""
from __future__ import annotations

import io
import warnings
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from sparkq.engines.torch_graph.float_kernels import FLOAT_KERNELS, READS_IMAGES
from sparkq.errors import ModelError
from sparkq.program.types import INPUT, Node, Program

__all__ = ["run_torch_program", "torch_program_bytes"]

_EXAMPLE_IMAGES = 2


def torch_program_bytes(program: Program) -> bytes:
    """Write a program as ``torch.export.load`` reads it: uint8 [N, H, W, 3] to float32 [N, C], for any N.

    Raises
    ------
    ModelError
        If torch cannot export it.
    """
    example = torch.zeros(program.input.sizes(_EXAMPLE_IMAGES), dtype=torch.uint8)
    stream = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        # Its tracing warns of parts of torch that it uses itself.
        warnings.simplefilter("ignore")
        try:
            module = _Reference(program).eval()
            exported = torch.export.export(module, (example,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
            torch.export.save(exported, stream)
        except Exception as error:
            raise ModelError(
                f"model: expected a program that torch.export takes; got {type(error).__name__}: "
                f"{' '.join(str(error).split())[:300]}.", hint="export it to another format.",
            ) from error
    return stream.getvalue()


class _Reference(nn.Module):
    """The nodes one after the other, each in float32 as it is written."""

    def __init__(self, program: Program) -> None:
        super().__init__()
        self.output = program.output
        self.names = {name: f"constant_{number}" for number, name in enumerate(program.constants)}
        for name, array in program.constants.items():
            self.register_buffer(self.names[name], torch.from_numpy(array.copy()))
        self.calls = [(_kernel(node), _inputs(node), node.name) for node in program.nodes]

    def forward(self, images: Tensor) -> Tensor:
        """uint8 [N, H, W, 3] to float32 [N, C]."""
        values = {INPUT: images, **{name: getattr(self, attribute) for name, attribute in self.names.items()}}
        for kernel, inputs, name in self.calls:
            values[name] = kernel(*(values[given] for given in inputs))
        result: Tensor = values[self.output]
        return result


def _inputs(node: Node) -> tuple[str, ...]:
    return (INPUT, *node.values) if node.operator in READS_IMAGES else node.values


def _kernel(node: Node) -> Callable[..., Tensor]:
    if node.operator in FLOAT_KERNELS:
        return FLOAT_KERNELS[node.operator](node)
    if node.operator == "quantized_decomposed.dequantize_per_channel":
        shape = [-1 if axis == node.attribute("axis") else 1 for axis in range(len(node.type.shape))]
        return lambda x, scales, zeros: (x.to(torch.float32) - zeros.view(shape)) * scales.to(torch.float32).view(shape)
    scale, zero_point = node.attribute("scale"), node.attribute("zero_point")
    if node.operator == "quantized_decomposed.dequantize_per_tensor":
        return lambda x: (x.to(torch.float32) - zero_point) * scale
    low, high = node.attribute("quant_min"), node.attribute("quant_max")
    return lambda x: torch.clamp(torch.round(x / scale) + zero_point, low, high).to(torch.uint8)


def run_torch_program(data: bytes, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Load what `torch_program_bytes` gave, and run it: uint8 [N, H, W, 3] to float32 [N, C]."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        output: npt.NDArray[np.float32] = torch.export.load(io.BytesIO(data)).module()(torch.from_numpy(images)).numpy()
    return output
