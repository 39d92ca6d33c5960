"""The payload: a program, uint8 NHWC in, the same function as the module, at any batch size."""
from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sparkq.config import QuantizationConfig
from sparkq.engines.base import LoadOptions
from sparkq.engines.load import load_engine
from sparkq.errors import ModelError
from sparkq.program.storage import loads_program
from sparkq.quantization.calibration.image_set import calibration_set
from sparkq.quantization.normalization import normalize
from sparkq.quantization.payload import deployed_model, program_payload
from sparkq.quantization.recipes.static import quantize_static
from tests.models import SMALL, DataDependent, NotFiniteOnBlack, SmallNet, noise

# Dark images first: what a trace remembers of its first images must not pass for the model.
NOISE = calibration_set([*noise(3, high=20), *noise(5)], SMALL)


def _payload(model: nn.Module, recipe: str = "none") -> bytes:
    model = model.eval()
    if recipe == "static":
        model = quantize_static(model, NOISE, SMALL, QuantizationConfig())
    return program_payload(deployed_model(model, SMALL), NOISE, name=type(model).__name__)


def _run(payload: bytes, pixels: Tensor, recipe: str) -> Tensor:
    engine = load_engine(payload, "fbgemm" if recipe == "static" else "float32", LoadOptions((16, 16)))
    return torch.from_numpy(engine.run(pixels.numpy()))


@pytest.mark.parametrize("recipe", ["none", "static"])
@pytest.mark.parametrize("images", [1, 2, 7])
def test_uint8_nhwc_to_the_modules_answer(recipe: str, images: int) -> None:
    """At batch sizes other than the traced one, on images that were not traced."""
    payload = _payload(SmallNet(), recipe)
    module = SmallNet().eval()
    if recipe == "static":
        module = quantize_static(module, NOISE, SMALL, QuantizationConfig())
    pixels = torch.from_numpy(np.stack(noise(images, seed=9)))
    with torch.no_grad():
        output = _run(payload, pixels, recipe)
        np.testing.assert_allclose(output.numpy(), module(normalize(pixels, SMALL)).numpy(), rtol=1e-5, atol=1e-6)
    assert output.dtype == torch.float32 and output.shape == (images, 4)


@pytest.mark.parametrize("recipe", ["none", "static"])
def test_it_is_a_program_that_says_what_the_network_is(recipe: str) -> None:
    """Layers by their names in the module; INT8 ones between what dequantizes and what quantizes."""
    nodes = {node.name: node for node in loads_program(_payload(SmallNet(), recipe)).nodes}
    assert nodes["conv1"].operator == "aten.conv2d"
    assert ("conv1.quantized" in nodes) == (recipe == "static")
    assert any(node.operator == "aten.batch_norm" for node in nodes.values()) == (recipe == "none")


def test_it_holds_int8_weights() -> None:
    """Much smaller than the float one: a linear layer of a million weights."""
    wide = nn.Sequential(nn.Flatten(), nn.Linear(768, 1300))
    assert len(_payload(wide, "static")) < 0.27 * len(_payload(wide))


class BakesBatchSize(SmallNet):
    """Reshapes to the number of images, which it asks for as a number of Python."""

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
    (RemembersItsFirstBatch, "any images"),
    (CountsBeyondTwo, "any images"),
    (DataDependent, "any images"),
])
def test_a_program_that_would_be_another_function(kind: type[nn.Module], words: str) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        _payload(kind())
    assert caught.value.hint and "\n" not in str(caught.value)


def test_the_batch_size_as_a_number_of_python() -> None:
    """It is followed where a size comes of it: the program holds for any."""
    pixels = torch.from_numpy(np.stack(noise(5, seed=3)))
    model = BakesBatchSize().eval()
    with torch.no_grad():
        expected = model(normalize(pixels, SMALL)).numpy()
    np.testing.assert_allclose(_run(_payload(model), pixels, "none").numpy(), expected, rtol=1e-5, atol=1e-6)


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
    with pytest.raises(ModelError, match="forward pass") as caught:
        _payload(nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 4)))
    assert "preprocess" in str(caught.value.hint) and "\n" not in str(caught.value)


def test_not_a_number_is_the_same_as_not_a_number() -> None:
    """The proof compares NaN with NaN: that a model gives it is for `quantize` to say."""
    black = calibration_set([np.zeros((16, 16, 3), np.uint8)], SMALL)
    assert program_payload(deployed_model(NotFiniteOnBlack(infinite=False), SMALL), black, name="NaN")
