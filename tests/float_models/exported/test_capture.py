"""Networks that torch.fx refuses go through torch.export."""
from __future__ import annotations

import pytest
import torch
from torch import Tensor, fx, nn

from sparkq.config import QuantizationConfig
from sparkq.errors import ModelError
from sparkq.float_models.exported import traceable
from sparkq.float_models.load import load_float_model
from sparkq.quantization import quantize
from tests.models import SMALL, DataDependent, SmallNet, noise


class BranchesOnShape(SmallNet):
    """As timm's VGG: torch.fx cannot compare a size."""

    def forward(self, x: Tensor) -> Tensor:
        """float32 [N, 3, H, W] to [N, classes]."""
        if x.shape[2] < 8:
            x = nn.functional.interpolate(x, (8, 8))
        n, c, h, w = x.shape
        assert h == w
        return super().forward(x.reshape(n, c, h * w).view(n, c, h, w))


def test_what_torch_fx_takes_stays_as_it_is() -> None:
    model = SmallNet().eval()
    assert traceable(model, torch.zeros(1, 3, 16, 16)) is model


def test_a_branch_on_a_shape_is_quantized_like_the_network_without_it() -> None:
    model = BranchesOnShape().eval()
    with pytest.raises(torch.fx.proxy.TraceError):
        fx.symbolic_trace(model)
    graphed, images = traceable(model, torch.zeros(1, 3, 16, 16)), torch.rand(5, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(fx.symbolic_trace(graphed)(images), model(images))
    outputs = []
    for each in (model, SmallNet().eval()):
        manifest = quantize(each, calibration=noise(8), preprocess=SMALL, config=QuantizationConfig()).manifest
        assert manifest.float_layers == ()
        outputs.append(manifest.golden.output)
    assert (outputs[0] == outputs[1]).all()


@pytest.mark.filterwarnings("ignore:.*no weights given:UserWarning")
def test_timms_vgg16() -> None:
    """A network that FX cannot trace: all of its convolutions and linear layers become modules again, to the bit."""
    model = load_float_model("timm:vgg16")
    with pytest.raises(torch.fx.proxy.TraceError):
        fx.symbolic_trace(model)
    graphed, image = traceable(model, torch.zeros(1, 3, 224, 224)), torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        assert torch.equal(fx.symbolic_trace(graphed)(image), model(image))
    found = [type(module) for module in graphed.modules()]
    assert found.count(nn.Conv2d) + found.count(nn.Linear) == 16 and found.count(nn.ReLU) == 15


def test_a_branch_on_pixels_is_refused_by_both() -> None:
    with pytest.raises(ModelError) as caught:
        traceable(DataDependent().eval(), torch.rand(1, 3, 16, 16))
    assert "torch.fx" in caught.value.message and "torch.export" in caught.value.message and caught.value.hint
    assert "\n" not in str(caught.value)
