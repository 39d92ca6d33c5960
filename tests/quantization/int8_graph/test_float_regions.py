"""Norms and concatenated answers stay in float; what they lie between stays in INT8."""
from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from sparkq.artifact.file import ModelArtifact
from sparkq.config import PreprocessConfig, QuantizationConfig, ResizeConfig
from sparkq.engines.torch_graph.engine import TorchEngine
from sparkq.metrics.sqnr import sqnr_of
from sparkq.quantization import quantize
from sparkq.quantization.int8_graph.float_regions import keep_answers_in_float, keep_norms_in_float
from sparkq.quantization.int8_graph.islands import FloatCall
from sparkq.worker.predictor import Predictor

PREPROCESS = PreprocessConfig(resize=ResizeConfig("squash", 16), mean=0.5, std=0.25)


class Normed(nn.Module):
    """SSD's L2 normalization, written as in torchvision, as in the original's translations, or by hand."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form = form
        self.first, self.last = nn.Conv2d(3, 32, 3, padding=1), nn.Conv2d(32, 8, 3, padding=1)
        self.scale = nn.Parameter(torch.full((32,), 20.0))

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = F.relu(self.first(x))
        if self.form == "normalize":
            x = self.scale.view(1, -1, 1, 1) * F.normalize(x)
        elif self.form == "div":
            norm = x.pow(2).sum(dim=1, keepdim=True).sqrt() + 1e-10
            x = self.scale.unsqueeze(0).unsqueeze(2).unsqueeze(3).expand_as(x) * torch.div(x, norm)
        else:
            x = x / (torch.linalg.vector_norm(x, dim=1, keepdim=True) + 1e-10) * self.scale.reshape(1, -1, 1, 1)
        return self.last(x).mean((2, 3))


class TwoHeads(nn.Module):
    """Large logits and small offsets in one answer, of two maps."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.down = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, 2, 1)
        self.logits = nn.ModuleList(nn.Conv2d(16, 8, 3, padding=1) for _ in range(2))
        self.offsets = nn.ModuleList(nn.Conv2d(16, 8, 3, padding=1) for _ in range(2))
        with torch.no_grad():
            for head in self.logits:
                head.weight *= 50

    def forward(self, x: Tensor) -> Tensor:
        """[N, 8 * 320 * 2]."""
        maps = [F.relu(self.stem(x))]
        maps.append(F.relu(self.down(maps[0])))
        parts = [
            head(found).permute(0, 2, 3, 1).reshape(x.shape[0], -1)
            for heads in (self.logits, self.offsets) for head, found in zip(heads, maps, strict=True)
        ]
        return torch.cat(parts, 1)


def images(count: int = 24) -> list[np.ndarray]:
    """Blocks of noise."""
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (4, 4, 3)).astype(np.uint8).repeat(4, 0).repeat(4, 1) for _ in range(count)]


def operators(artifact: ModelArtifact) -> list[str]:
    """Operators whose results torch rounds to 8 bits by themselves, in order."""
    engine = Predictor(artifact).engine
    assert isinstance(engine, TorchEngine)
    return [step.operator for step in engine.steps if step.own_range is not None]


@pytest.mark.parametrize("form", ["normalize", "div", "vector_norm"])
def test_a_norm_and_its_scale_are_rounded_once(form: str) -> None:
    """However it is written: one rounding before the layer behind it, of the product; the graph computes the same."""
    torch.manual_seed(0)
    model = Normed(form).eval()
    graph = fx.symbolic_trace(model)
    keep_norms_in_float(graph)
    assert any(isinstance(module, FloatCall) for module in graph.modules())
    batch = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(graph(batch), model(batch))
    artifact = quantize(model, calibration=images(), preprocess=PREPROCESS)
    found = operators(artifact)
    # The input and the product are rounded by themselves.
    assert sorted(found) == [*["aten.conv2d"] * 2, *["quantized_decomposed.quantize_per_tensor"] * 2]
    assert artifact.manifest.accuracy["calibration_sqnr_db"] > 35


def test_other_products_and_sums_stay_in_int8() -> None:
    """A residual block has nothing to do with norms; a norm of which one part comes from a layer is not kept whole."""
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
            self.scale = nn.Parameter(torch.ones(1, 3, 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            x = self.one(x)
            return (x + self.two(x) * self.scale).mean((2, 3))

    graph = fx.symbolic_trace(Residual())
    keep_norms_in_float(graph)
    assert keep_answers_in_float(graph) == []
    assert not any(isinstance(module, FloatCall) for module in graph.modules())


def test_each_head_keeps_its_own_range() -> None:
    """Concatenated in INT8, the small offsets would lie on a handful of levels of the large logits' range."""
    torch.manual_seed(0)
    model = TwoHeads().eval()
    graph = fx.symbolic_trace(model)
    assert keep_answers_in_float(graph) == []
    kinds = {type(module).__name__ for name, module in graph.named_modules() if name.startswith("float_answer")}
    assert kinds == {"FloatCall"}
    artifact = quantize(model, calibration=images(), preprocess=PREPROCESS)
    assert artifact.manifest.float_layers == () and artifact.manifest.int8_macs_percent == 100
    pixels = np.stack(images())
    reference = quantize(model, calibration=images(), preprocess=PREPROCESS, config=QuantizationConfig(recipe="none"))
    outputs, expected = (Predictor(one).engine.run(pixels) for one in (artifact, reference))
    half = outputs.shape[1] // 2
    assert sqnr_of(expected[:, :half], outputs[:, :half]) > 30
    assert sqnr_of(expected[:, half:], outputs[:, half:]) > 30
    assert np.abs(expected[:, :half]).max() > 20 * np.abs(expected[:, half:]).max()


def test_a_concatenation_before_a_layer_stays_in_int8() -> None:
    """As in SqueezeNet's modules."""
    class Fire(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(8, 5, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.cat([self.one(x), self.two(x)], 1)).mean((2, 3))

    graph = fx.symbolic_trace(Fire())
    assert keep_answers_in_float(graph) == []
    assert not any(isinstance(module, FloatCall) for module in graph.modules())
