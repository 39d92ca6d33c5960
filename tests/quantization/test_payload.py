"""The payload: one unfrozen TorchScript archive, uint8 NHWC in, the same function as the module, at any batch size."""
from __future__ import annotations

import io
import zipfile
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sparkq.config import QuantizationConfig
from sparkq.errors import ModelError
from sparkq.quantization.calibration.image_set import calibration_set
from sparkq.quantization.normalization import normalize
from sparkq.quantization.payload import trace_payload
from sparkq.quantization.recipes.static import quantize_static
from tests.models import SMALL, DataDependent, NotFiniteOnBlack, SmallNet, noise

# Dark images first: what a trace remembers of its first images must not pass for the model.
NOISE = calibration_set([*noise(3, high=20), *noise(5)], SMALL)


def _payload(model: nn.Module, recipe: str = "none") -> bytes:
    model = model.eval()
    if recipe == "static":
        model = quantize_static(model, NOISE, SMALL, QuantizationConfig())
    return trace_payload(model, SMALL, NOISE)


@pytest.mark.parametrize("recipe", ["none", "static"])
@pytest.mark.parametrize("images", [1, 2, 7])
def test_uint8_nhwc_to_the_modules_answer(recipe: str, images: int) -> None:
    """At batch sizes other than the traced one, on images that were not traced."""
    loaded = torch.jit.load(io.BytesIO(_payload(SmallNet(), recipe)))
    module = SmallNet().eval()
    if recipe == "static":
        module = quantize_static(module, NOISE, SMALL, QuantizationConfig())
    pixels = torch.from_numpy(np.stack(noise(images, seed=9)))
    with torch.no_grad():
        output = loaded(pixels)
        np.testing.assert_allclose(output.numpy(), module(normalize(pixels, SMALL)).numpy(), rtol=1e-5, atol=1e-6)
    assert output.dtype == torch.float32 and output.shape == (images, 4)


@pytest.mark.parametrize("recipe", ["none", "static"])
def test_archive_is_not_frozen(recipe: str) -> None:
    """A frozen archive has neither submodules nor buffers; OpenVINO refuses it, and x86 packs no weights from it."""
    payload = _payload(SmallNet(), recipe)
    assert zipfile.is_zipfile(io.BytesIO(payload))
    loaded = torch.jit.load(io.BytesIO(payload))
    names = {module.original_name for name, module in loaded.named_modules()}
    assert ("ConvReLU2d" if recipe == "static" else "BatchNorm2d") in names
    assert {"scale", "shift"} <= {name for name, _ in loaded.named_buffers()}


def test_archive_holds_int8_weights() -> None:
    """Much smaller than the float one: a linear layer of a million weights."""
    wide = nn.Sequential(nn.Flatten(), nn.Linear(768, 1300))
    assert len(_payload(wide, "static")) < 0.27 * len(_payload(wide))


class BakesBatchSize(SmallNet):
    """Reshapes to the number of images that it was traced with."""

    def forward(self, x: Tensor) -> Tensor:
        """float32 [N, 3, H, W] to [N, 4]."""
        return super().forward(x).reshape(int(x.shape[0]), 4)


class RemembersItsFirstBatch(SmallNet):
    """Adds a constant that grows with the batch: right in shape, wrong in numbers."""

    def forward(self, x: Tensor) -> Tensor:
        """float32 [N, 3, H, W] to [N, 4]."""
        return super().forward(x) + float(x.shape[0])


class CountsBeyondTwo(SmallNet):
    """As above, but the same for one image and for the two that are traced."""

    def forward(self, x: Tensor) -> Tensor:
        """float32 [N, 3, H, W] to [N, 4]."""
        return super().forward(x) + float(max(int(x.shape[0]), 2))


@pytest.mark.parametrize(("kind", "words"), [
    (BakesBatchSize, "any batch size"),
    (RemembersItsFirstBatch, "differs"),
    (CountsBeyondTwo, "differs"),
    (DataDependent, "differs"),
])
def test_trace_that_is_another_function(kind: type[nn.Module], words: str) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        _payload(kind())
    assert kind.__name__ in caught.value.message
    assert caught.value.hint and "\n" not in str(caught.value)


def _a_tuple(logits: Tensor) -> object:
    return logits, logits


def _a_mapping(logits: Tensor) -> object:
    return {"logits": logits}


def _a_picture(logits: Tensor) -> object:
    return logits[:, :, None, None]


def _a_vector(logits: Tensor) -> object:
    return logits[:, 0]


def _class_indices(logits: Tensor) -> object:
    return logits.argmax(1, keepdim=True)


def _nothing(logits: Tensor) -> object:
    return None


@pytest.mark.parametrize("head", [_a_tuple, _a_mapping, _a_picture, _a_vector, _class_indices, _nothing])
def test_output_that_is_not_float_n_by_classes(head: Callable[[Tensor], object]) -> None:
    with pytest.raises(ModelError) as caught:
        _payload(SmallNet(head=head))  # type: ignore[arg-type]
    assert "SmallNet" in caught.value.message
    assert caught.value.hint and "\n" not in str(caught.value)


def test_input_size_that_the_model_does_not_take() -> None:
    with pytest.raises(ModelError, match=r"trace on \[2, 16, 16, 3\]") as caught:
        _payload(nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 4)))
    assert "preprocess" in str(caught.value.hint) and "\n" not in str(caught.value)


def test_not_a_number_is_the_same_as_not_a_number() -> None:
    """The proof compares NaN with NaN: that a model gives it is for `quantize` to say."""
    black = calibration_set([np.zeros((16, 16, 3), np.uint8)], SMALL)
    assert trace_payload(NotFiniteOnBlack(infinite=False), SMALL, black)
