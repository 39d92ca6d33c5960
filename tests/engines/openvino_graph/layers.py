"""INT8 networks written by hand: layers with random weights, and roundings that fit what comes out of them."""
from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sparkq.program.interpreter import interpret_values
from sparkq.program.types import Program
from tests.engines.openvino_graph.written import SIZE, Written

__all__ = ["IMAGES", "Layers"]

IMAGES: npt.NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (4, SIZE, SIZE, 3), dtype=np.uint8)
# Without VNNI, products of larger ones saturate in 16 bits.
_LARGEST_WEIGHT = 63


class Layers(Written):
    """A program of INT8 layers."""

    def __init__(self) -> None:
        super().__init__()
        self._random = np.random.default_rng(7)

    def floats(self, *shape: int, low: float = -1.0, high: float = 1.0) -> npt.NDArray[np.float32]:
        """Random numbers."""
        return self._random.uniform(low, high, shape).astype(np.float32)

    def to_grid(self, value: str, scale: float, zero_point: int, low: int = 0, high: int = 255) -> str:
        """Round a value to 8 bits; the name of what the integers stand for."""
        integers = self.add("quantize_per_tensor", value, scale=scale, zero_point=zero_point, quant_min=low, quant_max=high)
        return self.add("dequantize_per_tensor", integers, scale=scale, zero_point=zero_point)

    def rounded(self, value: str) -> str:
        """Round a value to 8 bits that reach from nearly its smallest number to nearly its largest one."""
        program = Program(self.type("images"), self._constants, tuple(self._nodes), value)
        numbers = interpret_values(program, IMAGES, [value])[value]
        low, high = min(float(numbers.min()), 0.0), max(float(numbers.max()), 0.0)
        # A scale that no other is a simple fraction of: ties would be rounded either way.
        scale = (high - low) / 255 * (0.9 + 0.01 * self._random.random())
        return self.to_grid(value, scale, int(np.clip(round(-low / scale), 0, 255)))

    def grid(self, value: str) -> tuple[float, int]:
        """Scale and zero point of what was rounded."""
        (attributes,) = (node.attributes for node in self._nodes if node.name == value)
        scale, zero_point = attributes["scale"], attributes["zero_point"]
        assert isinstance(scale, float) and isinstance(zero_point, int)
        return scale, zero_point

    def weight(self, *shape: int, axis: int = 0) -> str:
        """Add INT8 weights."""
        integers = self._random.integers(-_LARGEST_WEIGHT, _LARGEST_WEIGHT + 1, shape, dtype=np.int8)
        scales = self._random.uniform(0.002, 0.01, shape[axis])
        return self.add("dequantize_per_channel", integers, scales, np.zeros(shape[axis], np.int64), axis=axis)

    def conv(self, value: str, outputs: int, *, kernel: int = 3, groups: int = 1, bias: bool = True) -> str:
        """Add a convolution with INT8 weights that keeps the size of its planes."""
        weight = self.weight(outputs, self.type(value).shape[1] // groups, kernel, kernel)
        padding = kernel // 2
        return self.add(
            "conv2d", value, weight, self.floats(outputs) if bias else None, stride=(1, 1), padding=(padding, padding),
            dilation=(1, 1), groups=groups,
        )

    def pixels(self) -> str:
        """Add the images, rounded: float32 [N, 3, 8, 8] with a zero point amid the integers."""
        return self.rounded(self.add("permute", self.reals((SIZE, SIZE, 3)), dims=(0, 3, 1, 2)))

    def planes(self, outputs: int = 16) -> str:
        """Add a first layer, with a zero point of 0."""
        return self.rounded(self.add("relu", self.conv(self.pixels(), outputs)))

    def shifted(self, outputs: int = 16) -> str:
        """Add two layers, the second of them with a zero point amid the integers."""
        return self.rounded(self.conv(self.planes(), outputs))
