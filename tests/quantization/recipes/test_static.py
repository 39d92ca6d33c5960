"""The static recipe on torch modules: fused, per channel, calibrated; and models that it cannot take."""
from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sparkq.config import PreprocessConfig, QuantizationConfig, ResizeConfig
from sparkq.errors import ModelError
from sparkq.metrics.sqnr import sqnr_of
from sparkq.quantization.calibration.image_set import calibration_set
from sparkq.quantization.float_graph.macs import float_layers
from sparkq.quantization.normalization import normalize
from sparkq.quantization.recipes.static import quantize_static
from tests.models import REFERENCES, SMALL, DataDependent, SmallNet, noise, reference_files, reference_model

NOISE = calibration_set(noise(8), SMALL)


def _static(model: nn.Module, preprocess: PreprocessConfig = SMALL, **config: object) -> nn.Module:
    return quantize_static(model.eval(), NOISE, preprocess, QuantizationConfig(**config))  # type: ignore[arg-type]


def _kinds(model: nn.Module) -> list[str]:
    return [f"{type(module).__module__}.{type(module).__name__}" for module in model.modules()]


class TestConverted:
    """What becomes of a model of convolutions, BatchNorm and ReLU."""

    def test_convolution_batchnorm_and_relu_are_one_module(self) -> None:
        kinds = _kinds(_static(SmallNet()))
        assert sum("ConvReLU2d" in kind for kind in kinds) == 2
        assert not any("BatchNorm" in kind or kind.endswith((".Conv2d", ".ReLU")) for kind in kinds)
        assert sum(kind.endswith(".LinearFloatOutput") for kind in kinds) == 1
        kinds = _kinds(_static(SmallNet(), float_output=False))
        assert sum(kind.endswith("quantized.modules.linear.Linear") for kind in kinds) == 1

    def test_real_resnet(self, shared_data: Path) -> None:
        """20 layers: 19 convolutions, of which those before an addition have no ReLU of their own, and one linear layer."""
        preprocess = REFERENCES["resnet20"].preprocess
        calibration = calibration_set(reference_files(shared_data, "resnet20", 8), preprocess)
        model = quantize_static(reference_model(shared_data, "resnet20"), calibration, preprocess, QuantizationConfig())
        kinds = _kinds(model)
        assert not any("BatchNorm" in kind for kind in kinds)
        assert sum("ConvReLU2d" in kind for kind in kinds) == 10
        assert sum(kind.endswith("quantized.modules.conv.Conv2d") for kind in kinds) == 9
        assert float_layers(model) == ()

    def test_weights_have_a_scale_a_channel(self) -> None:
        model = _static(SmallNet(), float_output=False)
        for layer, channels in ((model.conv1, 8), (model.conv2, 16), (model.linear, 4)):
            weight = layer.weight()
            assert weight.dtype == torch.qint8
            assert weight.qscheme() in (torch.per_channel_affine, torch.per_channel_symmetric)
            assert weight.q_per_channel_axis() == 0
            # Multiples of one grid, so that channels of nearly one range share a scale.
            assert len(weight.q_per_channel_scales()) == channels < 2.1 * len(set(weight.q_per_channel_scales().tolist()))

    @pytest.mark.parametrize("observer", ["histogram", "min_max", "percentile", "mse", "entropy", "auto"])
    def test_it_is_close_to_the_float_model(self, observer: str) -> None:
        model = SmallNet()
        inputs = normalize(torch.from_numpy(np.stack(noise(16, seed=1))), SMALL)
        with torch.no_grad():
            expected, converted = model.eval()(inputs), _static(model, observer=observer)(inputs)
        assert 15 < sqnr_of(expected.numpy(), converted.numpy()) < 60

    @pytest.mark.parametrize(("target", "levels"), [("vnni", 256), ("avx2", 128)])
    def test_activation_range_is_the_calibrated_one(self, target: str, levels: int) -> None:
        """min_max: the input's scale spans exactly what the calibration images have, in 7 bits without VNNI."""
        model = _static(SmallNet(), observer="min_max", target=target, avoid_ties=False)
        highest = float(normalize(torch.from_numpy(NOISE.images), SMALL).max())
        scales = [float(value) for name, value in model.named_buffers() if "scale" in name and value.numel() == 1]
        assert min(abs(scale - highest / (levels - 1)) for scale in scales) < 1e-7

    def test_every_calibration_batch_counts(self) -> None:
        """The same ranges whatever the batch size is, with images that do not divide evenly."""
        inputs = normalize(torch.from_numpy(NOISE.images), SMALL)
        # What is fitted by sums over the images moves in the last digits with the batches.
        plain = {"equalization": False, "rounding": "nearest", "bias_correction": False}
        outputs = [_static(SmallNet(), observer="min_max", batch_size=size, **plain)(inputs) for size in (1, 3, 8)]
        assert torch.equal(outputs[0], outputs[1]) and torch.equal(outputs[0], outputs[2])

    def test_the_given_model_is_left_as_it_was(self) -> None:
        model = SmallNet().eval()
        before = copy.deepcopy(model.state_dict())
        kinds = _kinds(model)
        _static(model)
        assert _kinds(model) == kinds
        assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())

    @pytest.mark.parametrize("softmax", [nn.Softmax(1), nn.LogSoftmax(1)], ids=["softmax", "log_softmax"])
    def test_a_softmax_stays_in_float(self, softmax: nn.Module) -> None:
        """In 8 bits every probability below 1/512 would be 0."""
        model = _static(nn.Sequential(SmallNet(1000), softmax))
        inputs = normalize(torch.from_numpy(NOISE.images), SMALL)
        probabilities = model(inputs) if isinstance(softmax, nn.Softmax) else model(inputs).exp()
        np.testing.assert_allclose(probabilities.sum(1).numpy(), 1, atol=1e-5)

    def test_layers_that_stay_in_float_are_named(self) -> None:
        """torch computes an attention's output projection in float."""
        class WithAttention(SmallNet):
            def __init__(self) -> None:
                super().__init__(classes=8)
                self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

            def forward(self, x: Tensor) -> Tensor:
                tokens = super().forward(x).unsqueeze(1)
                attended, _ = self.attention(tokens, tokens, tokens)
                return attended.flatten(1)

        assert float_layers(_static(WithAttention())) == ("attention.out_proj",)
        assert float_layers(_static(SmallNet())) == ()


class UsesNumpy(SmallNet):
    """Leaves torch on the way."""

    def forward(self, x: Tensor) -> Tensor:
        """float32 [N, 3, H, W] to [N, classes]."""
        return super().forward(torch.from_numpy(x.numpy() * 2))


@pytest.mark.parametrize("kind", [DataDependent, UsesNumpy])
def test_model_that_cannot_be_traced(kind: type[nn.Module]) -> None:
    with pytest.raises(ModelError) as caught:
        _static(kind())
    assert "torch.fx can trace" in caught.value.message and kind.__name__ in caught.value.message
    assert caught.value.hint and "\n" not in str(caught.value)


def test_input_size_that_the_model_does_not_take() -> None:
    """Two sentences of torch's become one of ours, which names the preprocessing."""
    needs_8 = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 4))
    with pytest.raises(ModelError, match=r"forward pass on \[1, 3, 16, 16\]") as caught:
        _static(needs_8, PreprocessConfig(resize=ResizeConfig("squash", 16)))
    assert "preprocess" in str(caught.value.hint) and "\n" not in str(caught.value)
