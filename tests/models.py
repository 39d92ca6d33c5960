"""Models and images that several test modules use: real trained ones, and small ones that have one property each."""
from __future__ import annotations

import copy
import functools
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from sparkq.artifact.file import ModelArtifact
from sparkq.config import PreprocessConfig, QuantizationConfig, ResizeConfig
from sparkq.demo.digits import PREPROCESS as DIGITS_PREPROCESS
from sparkq.demo.digits import Digits, DigitsNet, load_digits, train_digits_net
from sparkq.engines.base import Engine
from sparkq.float_models.load import load_float_model
from sparkq.model_tasks import Classification
from sparkq.quantization import quantize
from sparkq.worker.predictor import Predictor

# A Python worker computes with one thread, and other test processes want the other cores.
torch.set_num_threads(1)

Pixels = npt.NDArray[np.uint8]
SMALL = PreprocessConfig(resize=ResizeConfig("squash", 16))


@dataclass(frozen=True)
class Reference:
    """A real trained model of ``shared/data/models``, as its README describes it."""

    factory: str
    weights: str
    preprocess: PreprocessConfig
    images: str


REFERENCES = {
    "resnet20": Reference(
        "resnet20_cifar10", "resnet20_cifar10.pt",
        PreprocessConfig(resize=ResizeConfig("squash", 32), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)), "cifar10",
    ),
    "squeezenet": Reference(
        "squeezenet_1_1", "squeezenet_v1.1.pt",
        PreprocessConfig(resize=ResizeConfig("squash", 227), channel_order="BGR", rescale=1, mean=(104, 117, 123)), "photos_jpeg",
    ),
    "mobilenet": Reference(
        "mobilenet_v1_025", "mobilenet_v1_0.25_224.pt",
        PreprocessConfig(resize=ResizeConfig("shorter_side", 256), crop=224, rescale="1/127.5", mean=1), "photos_jpeg",
    ),
}


def reference_model(shared_data: Path, name: str) -> nn.Module:
    """The float model with its trained weights."""
    models, reference = shared_data / "models", REFERENCES[name]
    return load_float_model(f"{models}/reference_models.py:{reference.factory}", str(models / reference.weights))


def reference_files(shared_data: Path, name: str, count: int, *, step: int = 1) -> list[bytes]:
    """Every `step`-th of the real images of the model's kind, encoded; CIFAR's are sorted by class."""
    return [path.read_bytes() for path in sorted((shared_data / REFERENCES[name].images / "images").iterdir())[::step][:count]]


def reference_artifact(shared_data: Path, name: str, recipe: str = "static") -> ModelArtifact:
    """The model quantized on 32 real images; always the same object."""
    return _reference_artifact(shared_data, name, recipe)


@functools.cache
def _reference_artifact(shared_data: Path, name: str, recipe: str) -> ModelArtifact:
    return quantize(
        reference_model(shared_data, name), calibration=reference_files(shared_data, name, 32, step=5),
        preprocess=REFERENCES[name].preprocess, config=QuantizationConfig(recipe=recipe), name=name,
    )


@functools.cache
def digits() -> tuple[Digits, Digits]:
    """Scans to train on and scans held out."""
    return load_digits()


@functools.cache
def digits_net() -> DigitsNet:
    """The demonstration's network, trained for three epochs."""
    return train_digits_net(digits()[0], epochs=3)


@functools.cache
def one_label_artifact(recipe: str = "none", classes: int = 10) -> ModelArtifact:
    """The digits' model after a fault that gives every image the last of the first `classes` digits; it knows no others."""
    model = copy.deepcopy(digits_net())
    with torch.no_grad():
        linear = nn.Linear(model.classifier.in_features, classes)
        linear.weight.copy_(model.classifier.weight[:classes])
        linear.bias.copy_(model.classifier.bias[:classes])
        linear.bias[classes - 1] += 1000
        model.classifier = linear
    return quantize(
        model, calibration=digit_files(32), preprocess=DIGITS_PREPROCESS, config=QuantizationConfig(recipe=recipe), name="broken",
    )


def digits_artifact(recipe: str = "static") -> ModelArtifact:
    """The demonstration's artifact, with a name for each digit; always the same object."""
    return _digits_artifact(recipe)


@functools.cache
def _digits_artifact(recipe: str) -> ModelArtifact:
    names = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    return quantize(
        digits_net(), calibration=digits()[0].images[:64], preprocess=DIGITS_PREPROCESS, labels=names,
        config=QuantizationConfig(recipe=recipe),
    )


def classified(predictor: Predictor, images: Pixels, *, top_k: int = 5) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Labels, best first, and their scores, [N, K] each, of images at the input size of a classification."""
    assert isinstance(predictor.model_task, Classification)
    return predictor.model_task.rank(predictor.run_rows(images, batch_size=len(images)).outputs, top_k)


def encoded(pixels: Pixels, image_format: str = "PNG") -> bytes:
    """An image file."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, image_format)
    return stream.getvalue()


@functools.cache
def digit_files(count: int) -> tuple[bytes, ...]:
    """Held-out scans as PNG files."""
    return tuple(encoded(image) for image in digits()[1].images[:count])


def noise(count: int, *, size: int = 16, high: int = 256, seed: int = 0) -> list[Pixels]:
    """Random images with pixels below `high`."""
    return list(np.random.default_rng(seed).integers(0, high, (count, size, size, 3), dtype=np.uint8))


class SmallNet(nn.Module):
    """Convolution, BatchNorm, ReLU, twice; a mean; a linear layer; and `head` on the logits."""

    def __init__(self, classes: int = 4, head: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8)
            self.conv2, self.bn2 = nn.Conv2d(8, 16, 3, bias=False), nn.BatchNorm2d(16)
            self.linear = nn.Linear(16, classes)
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        """float32 [N, 3, H, W] to [N, classes]."""
        x = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits if self.head is None else self.head(logits)


class DataDependent(SmallNet):
    """Takes another way for bright images: a trace takes the way of its first images for the only one."""

    def forward(self, x: Tensor) -> Tensor:
        """float32 [N, 3, H, W] to [N, classes]."""
        return super().forward(x) if x.mean() > 0.1 else super().forward(-x)


class FailsOnWhite(nn.Module):
    """Looks the brightest pixel up in a table of 255 rows: a white pixel is out of range."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.arange(255 * 4, dtype=torch.float32).reshape(255, 4) % 7)

    def forward(self, x: Tensor) -> Tensor:
        """float32 [N, 3, H, W] to [N, 4]."""
        return F.embedding((x.amax((1, 2, 3)) * 255).round().long(), self.table)


class _FailsOnWhiteEngine:
    """An engine whose forward pass fails on a batch with a white image in it, as one does that has no memory for it."""

    def __init__(self, engine: Engine) -> None:
        self.name, self._engine = engine.name, engine

    def run(self, images: Pixels) -> npt.NDArray[np.float32]:
        """Run the engine, unless an image is white."""
        if any(image.min() == 255 for image in images):
            raise RuntimeError("the forward pass failed\nindex out of range")
        return self._engine.run(images)


def failing_on_white(artifact: ModelArtifact) -> Predictor:
    """A predictor whose engine fails on white images."""
    predictor = Predictor(artifact)
    predictor.engine = _FailsOnWhiteEngine(predictor.engine)
    return predictor


class NotFiniteOnBlack(nn.Module):
    """Divides by the image's mean: a black image gives 0 / 0 in the first class, 1 / 0 in the second."""

    def __init__(self, *, infinite: bool) -> None:
        super().__init__()
        self.infinite = infinite

    def forward(self, x: Tensor) -> Tensor:
        """float32 [N, 3, H, W] to [N, 3]."""
        mean = x.mean((1, 2, 3))
        first = mean / mean if not self.infinite else mean
        return torch.stack([first, 1 / mean if self.infinite else mean, x.amax((1, 2, 3))], 1)


def float_artifact(model: nn.Module, *, bright: int = 200) -> ModelArtifact:
    """A float artifact of a small model, traced on images with no pixel as bright as `bright`."""
    return quantize(model, calibration=noise(4, high=bright), preprocess=SMALL, config=QuantizationConfig(recipe="none"))
