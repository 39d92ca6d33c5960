"""`quantize`: from a float model to an artifact that says the same of real images, in a quarter of the bytes."""
from __future__ import annotations

import copy
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import nn

from sparkq import ModelArtifact, PreprocessConfig, QuantizationConfig, ResizeConfig, load_float_model
from sparkq.demo.digits import PREPROCESS as DIGITS_PREPROCESS
from sparkq.engines.base import LoadOptions
from sparkq.engines.load import load_engine
from sparkq.errors import InputError, ModelError, SparkqError
from sparkq.images.preprocess import preprocess_array
from sparkq.quantization import quantize
from sparkq.worker.predictor import Predictor
from tests.models import (
    REFERENCES,
    SMALL,
    DataDependent,
    FailsOnWhite,
    NotFiniteOnBlack,
    SmallNet,
    classified,
    digits,
    digits_artifact,
    digits_net,
    encoded,
    noise,
    reference_artifact,
    reference_files,
    reference_model,
)

FLOAT = QuantizationConfig(recipe="none")


def _plain(files: Sequence[bytes], name: str) -> npt.NDArray[np.float32]:
    """What the model's README says, written anew without sparkq: Pillow, then numpy in double precision."""
    pixels = []
    for file in files:
        image = Image.open(io.BytesIO(file)).convert("RGB")
        if name == "mobilenet":
            scale = 256 / min(image.size)
            width, height = (256 if side == min(image.size) else int(256 * side / min(image.size)) for side in image.size)
            assert min(width, height) == 256 and max(width, height) == int(scale * max(image.size))
            image = image.resize((width, height), Image.Resampling.BILINEAR)
            left, top = round((width - 224) / 2), round((height - 224) / 2)
            image = image.crop((left, top, left + 224, top + 224))
        else:
            image = image.resize((227, 227) if name == "squeezenet" else (32, 32), Image.Resampling.BILINEAR)
        pixels.append(np.asarray(image, np.float64))
    batch = np.stack(pixels)
    normalized = {
        "mobilenet": lambda: batch / 127.5 - 1,
        "squeezenet": lambda: batch[..., ::-1] - np.array([104, 117, 123]),
        "resnet20": lambda: (batch / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225]),
    }[name]()
    return np.ascontiguousarray(normalized.transpose(0, 3, 1, 2)).astype(np.float32)


def _accuracy(artifact: ModelArtifact) -> float:
    """Top-1 in percent on the held-out digits."""
    held_out = digits()[1]
    pixels = np.stack([preprocess_array(image, DIGITS_PREPROCESS) for image in held_out.images])
    return 100 * float((classified(Predictor(artifact), pixels)[0][:, 0] == held_out.labels).mean())


class TestFloatArtifact:
    """Recipe ``none``: the same function as plain torch on normalized input."""

    @pytest.mark.parametrize("name", REFERENCES)
    def test_real_model_on_real_images(self, name: str, shared_data: Path) -> None:
        """RGB and BGR, divided and not, cropped and squashed."""
        # Those that shrink far are averaged in blocks first, and are no longer the very pixels of plain Pillow.
        files = [file for file in reference_files(shared_data, name, 6, step=30) if max(Image.open(io.BytesIO(file)).size) < 1000]
        model = reference_model(shared_data, name)
        with torch.no_grad():
            expected = model(torch.from_numpy(_plain(files, name))).numpy()
        artifact = reference_artifact(shared_data, name, "none")
        preprocess = artifact.manifest.preprocess
        # As arrays, so that no JPEG is decoded at reduced scale.
        decoded = [np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for file in files]
        outputs = Predictor(artifact).engine.run(np.stack([preprocess_array(image, preprocess) for image in decoded]))
        # What is cropped may be a level off here and there.
        tolerance = 1e-4 if preprocess.crop is None else 2e-3
        assert len(files) > 3
        np.testing.assert_allclose(outputs, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max())
        assert np.array_equal(outputs.argmax(1), expected.argmax(1))

    def test_manifest(self) -> None:
        artifact = quantize(SmallNet(), calibration=noise(3), preprocess=SMALL, config=FLOAT)
        manifest = artifact.manifest
        assert manifest.quantization == FLOAT
        assert manifest.calibration_images == 0
        assert manifest.float_layers == ("conv1", "conv2", "linear")
        assert manifest.labels is None and manifest.classes == 4


class TestInt8Artifact:
    """Recipe ``static``."""

    def test_accuracy_on_real_digits(self) -> None:
        """Within one point of the float model, which is good."""
        float_accuracy, accuracy = _accuracy(digits_artifact("none")), _accuracy(digits_artifact())
        assert float_accuracy > 93
        assert abs(float_accuracy - accuracy) <= 1

    def test_manifest_and_file(self) -> None:
        artifact = digits_artifact()
        manifest = artifact.manifest
        assert manifest.quantization.recipe == "static"
        assert manifest.calibration_images == 64
        assert manifest.float_layers == ()
        assert manifest.name == "DigitsNet"
        assert manifest.labels is not None and manifest.labels[3] == "three"
        assert manifest.float_bytes == sum(t.numel() * t.element_size() for t in digits_net().state_dict().values())
        assert manifest.payload_bytes == len(artifact.payload)
        assert manifest.torch_version == torch.__version__
        assert ModelArtifact.loads(artifact.dumps()).manifest.dumps() == manifest.dumps()

    def test_golden_output_is_the_payloads_answer(self) -> None:
        artifact = digits_artifact()
        golden = artifact.manifest.golden
        output = load_engine(artifact.payload, "fbgemm", LoadOptions((32, 32))).run(golden.input((32, 32))[np.newaxis])[0]
        assert np.array_equal(output, golden.output)

    def test_resnet50_takes_a_quarter(self) -> None:
        """Manifest included; 25.6 million parameters."""
        with pytest.warns(UserWarning, match="random"):
            model = load_float_model("torchvision:resnet50")
        artifact = quantize(
            model, calibration=noise(2, size=224), labels=[f"n{index:08d} a class of ImageNet" for index in range(1000)],
            preprocess=PreprocessConfig(crop=224),
            # The quick way: how weights are rounded does not change how many bytes they take.
            config=QuantizationConfig(observer="min_max", rounding="nearest", bias_correction=False, avoid_ties=False),
        )
        assert len(artifact.dumps()) <= 26.5e6
        assert artifact.manifest.float_bytes == pytest.approx(102.4e6, rel=1e-3)

    @pytest.mark.parametrize("engine", torch.backends.quantized.supported_engines)
    def test_the_same_whatever_engine_the_process_uses(self, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
        expected = quantize(SmallNet(), calibration=noise(3), preprocess=SMALL)
        monkeypatch.setattr(torch.backends.quantized, "engine", engine)
        artifact = quantize(SmallNet(), calibration=noise(3), preprocess=SMALL)
        assert torch.backends.quantized.engine == engine
        assert np.array_equal(artifact.manifest.golden.output, expected.manifest.golden.output)


@pytest.mark.parametrize("recipe", ["static", "none"])
class TestEveryRecipe:
    """What holds for INT8 and float artifacts."""

    def test_the_given_model_is_left_as_it_was(self, recipe: str) -> None:
        """Parameters, statistics, mode, structure; a model in train mode is taken in eval mode and given back in train mode."""
        model = SmallNet().train()
        before, structure = copy.deepcopy(model.state_dict()), repr(model)
        artifact = quantize(model, calibration=noise(3), preprocess=SMALL, config=QuantizationConfig(recipe=recipe))
        assert model.training and model.bn1.training
        assert repr(model) == structure
        assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
        evaluated = quantize(model.eval(), calibration=noise(3), preprocess=SMALL, config=QuantizationConfig(recipe=recipe))
        assert np.array_equal(artifact.manifest.golden.output, evaluated.manifest.golden.output)

    def test_arrays_bytes_and_generators(self, recipe: str) -> None:
        images = noise(3)
        config = QuantizationConfig(recipe=recipe)
        manifests = [
            quantize(SmallNet(), calibration=calibration, preprocess=SMALL, config=config).manifest
            for calibration in (images, [encoded(image) for image in images], (image for image in images))
        ]
        assert len({manifest.calibration_fingerprint for manifest in manifests}) == 1
        assert all(np.array_equal(manifest.golden.output, manifests[0].golden.output) for manifest in manifests)

    @pytest.mark.parametrize("softmax", [nn.Softmax(1), lambda logits: logits.softmax(-1)], ids=["module", "function"])
    @pytest.mark.parametrize("classes", [4, 1000])
    def test_model_that_ends_in_a_softmax(self, recipe: str, softmax: nn.Module, classes: int) -> None:
        """Its outputs are the scores: softmax twice would make all of them nearly equal."""
        config = QuantizationConfig(recipe=recipe)
        artifact = quantize(SmallNet(classes, softmax), calibration=noise(8), preprocess=SMALL, config=config)
        assert artifact.manifest.scores == "probabilities"
        images = np.stack(noise(5, seed=3))
        predictor = Predictor(artifact)
        labels, scores = classified(predictor, images, top_k=classes)
        assert np.array_equal(scores, np.take_along_axis(predictor.engine.run(images), labels, axis=1))
        logits = Predictor(quantize(SmallNet(classes), calibration=noise(8), preprocess=SMALL, config=config))
        assert logits.manifest.scores == "logits"
        np.testing.assert_allclose(scores, classified(logits, images, top_k=classes)[1], rtol=1e-5)

    def test_name(self, recipe: str) -> None:
        config = QuantizationConfig(recipe=recipe)
        artifact = quantize(SmallNet(), calibration=noise(2), preprocess=SMALL, name="mine", config=config)
        assert artifact.manifest.name == "mine"

    @pytest.mark.parametrize("count", [0, 3, 5])
    def test_wrong_number_of_labels(self, recipe: str, count: int) -> None:
        with pytest.raises(InputError, match=f"expected 4 names.*got {count}"):
            quantize(
                SmallNet(), calibration=noise(2), preprocess=SMALL, labels=[str(index) for index in range(count)],
                config=QuantizationConfig(recipe=recipe),
            )

    @pytest.mark.parametrize(("model", "calibration", "words"), [
        (DataDependent(), [*noise(3, high=20), *noise(5)], "DataDependent"),
        (nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten()), noise(2), "Sequential"),
        (nn.Conv2d(3, 4, 3), noise(2), "[N, classes]"),
        (NotFiniteOnBlack(infinite=False), [np.zeros((16, 16, 3), np.uint8)], "NaN"),
        (FailsOnWhite(), [np.full((16, 16, 3), 255, np.uint8)], "FailsOnWhite"),
        (SmallNet(), [], "at least one image"),
        (SmallNet(), [np.zeros((16, 16, 3), np.float32)], "float32"),
        (SmallNet, noise(2), "torch.nn.Module"),
    ], ids=["data_dependent", "channels", "picture", "not_a_number", "fails", "no_images", "dtype", "no_module"])
    def test_one_sentence(self, recipe: str, model: nn.Module, calibration: list[npt.NDArray[np.uint8]], words: str) -> None:
        """Wrong models and wrong images: an expected failure in one line, not a traceback of torch's."""
        with pytest.raises(SparkqError) as caught:
            quantize(model, calibration=calibration, preprocess=SMALL, config=QuantizationConfig(recipe=recipe))
        assert words in caught.value.message
        assert "\n" not in str(caught.value) and len(caught.value.message) < 600

    def test_weights_that_are_not_numbers(self, recipe: str) -> None:
        model = SmallNet()
        nn.init.constant_(model.linear.bias, float("nan"))
        with pytest.raises(ModelError, match="finite outputs"):
            quantize(model, calibration=noise(2), preprocess=SMALL, config=QuantizationConfig(recipe=recipe))


def test_crop_and_resize_reach_the_payload() -> None:
    """The manifest's preprocessing is the given one, and its input size is the payload's."""
    preprocess = PreprocessConfig(resize=ResizeConfig("shorter_side", 20), crop=(16, 18))
    artifact = quantize(SmallNet(), calibration=noise(2, size=50), preprocess=preprocess)
    assert artifact.manifest.preprocess == preprocess
    assert artifact.manifest.golden.input(artifact.manifest.input_size).shape == (16, 18, 3)
