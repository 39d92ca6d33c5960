"""Between layers that stay in float nothing is rounded to 8 bits."""
from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from sparkq.config import QuantizationConfig
from sparkq.quantization.calibration.image_set import calibration_set
from sparkq.quantization.int8_graph.islands import FloatCall, keep_islands_in_float
from sparkq.quantization.normalization import normalize
from sparkq.quantization.recipes.static import quantize_static
from tests.models import REFERENCES, SMALL, noise, reference_files, reference_model


class Branches(nn.Module):
    """Two branches that are added, concatenated, and read by a method."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.left, self.right = (nn.Conv2d(inputs, 4, 3, padding=1) for inputs in (3, 4, 4))
        self.act = nn.ReLU()
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        """float32 [N, 3, H, W] to [N, 3]."""
        x = self.act(self.stem(x))
        left, right = F.relu(self.left(x)), self.right(x)
        joined = torch.cat([left + right, right * 2], dim=1)
        logits: Tensor = self.head(joined.mean((2, 3)))
        return logits


def test_the_graph_computes_the_same() -> None:
    """Functions with lists, keywords and constants, and methods, become modules; calls that read INT8 layers do not."""
    images = torch.rand(2, 3, 8, 8)
    for kept, calls in ((["stem", "left", "right", "head"], 5), (["left", "right"], 5), (["left"], 1), ([], 0)):
        graph = fx.symbolic_trace(Branches().eval())
        expected = graph(images)
        names = keep_islands_in_float(graph, kept)
        assert torch.equal(graph(images), expected)
        assert names == (["act"] if "stem" in kept else [])
        assert sum(isinstance(module, FloatCall) for module in graph.modules()) == calls
        assert torch.equal(copy.deepcopy(graph)(images), expected)


def test_all_layers_in_float_are_the_float_model(shared_data: Path) -> None:
    """ResNet-20 with its residual additions: nothing is left to lose."""
    preprocess = REFERENCES["resnet20"].preprocess
    model = reference_model(shared_data, "resnet20").eval()
    calibration = calibration_set(reference_files(shared_data, "resnet20", 8), preprocess)
    layers = tuple(name for name, module in model.named_modules() if isinstance(module, (nn.Conv2d, nn.Linear)))
    converted = quantize_static(model, calibration, preprocess, QuantizationConfig(float_layers=layers))
    images = normalize(torch.from_numpy(calibration.images), preprocess)
    with torch.no_grad():
        torch.testing.assert_close(converted(images), model(images), rtol=1e-3, atol=1e-3)


def test_a_layer_in_int8_between_float_ones() -> None:
    """It still is INT8, and the model close to the float one."""
    model = Branches().eval()
    calibration = calibration_set(noise(8), SMALL)
    converted = quantize_static(model, calibration, SMALL, QuantizationConfig(float_layers=("stem", "right")))
    assert "quantized" in type(converted.get_submodule("left")).__module__
    images = normalize(torch.from_numpy(calibration.images), SMALL)
    with torch.no_grad():
        assert (converted(images) - model(images)).abs().max() < 0.1 * model(images).abs().max()
