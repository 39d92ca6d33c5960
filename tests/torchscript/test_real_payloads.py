"""No payload that sparkq itself writes is refused: trained transformers, ConvNeXt, MobileNetV3, detectors, a zoo of others."""
from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from sparkq.artifact.file import ModelArtifact
from sparkq.config import ModelTaskConfig, PreprocessConfig, QuantizationConfig, ResizeConfig
from sparkq.float_models.load import load_float_model
from sparkq.quantization import quantize
from sparkq.quantization.task_model import task_model
from tests.models import REFERENCES, SMALL, SmallNet, digits_artifact, noise

QUICK = {"rounding": "nearest", "weight_scales": "max", "observer": "min_max"}
# One of each kind of block that timm has a small model of, and those of torchvision that others have not.
ZOO = [
    "timm:test_byobnet", "timm:test_coatnet", "timm:test_convnext2", "timm:test_efficientnet_evos", "timm:test_mambaout",
    "timm:test_maxvit", "timm:test_nfnet", "timm:test_vit", "timm:test_vit3", "timm:test_vit_relpos",
    "torchvision:shufflenet_v2_x0_5",
]


def loaded(artifact: ModelArtifact, folder: Path) -> None:
    """What `quantize` has opened in an engine comes back from its file as well."""
    artifact.save(str(folder / "m.sparkq"))
    assert ModelArtifact.load(str(folder / "m.sparkq")) == artifact


def preprocess(size: int) -> PreprocessConfig:
    """Of the plainest kind."""
    return PreprocessConfig(resize=ResizeConfig("squash", size), mean=0.5, std=0.25)


@pytest.mark.parametrize(("name", "recipe"), [
    ("vit_cifar10", "none"), ("vit_cifar10", "dynamic"), ("convnext_cifar10", "none"), ("convnext_cifar10", "static"),
    ("mobilenetv3_cifar10", "none"), ("mobilenetv3_cifar10", "static"),
])
def test_trained_models(shared_data: Path, tmp_path: Path, name: str, recipe: str) -> None:
    """On real images."""
    models = shared_data / "models"
    files = [path.read_bytes() for path in sorted((shared_data / "cifar10" / "images").iterdir())[::250]]
    model = load_float_model(f"{models}/reference_models.py:{name}", str(models / f"{name}.pt"))
    config = QuantizationConfig(recipe=recipe, entropy_coding=recipe == "static", **QUICK)
    loaded(quantize(model, calibration=files, preprocess=REFERENCES["resnet20"].preprocess, config=config, name=name), tmp_path)


@pytest.mark.parametrize("spec", ZOO)
def test_a_zoo(tmp_path: Path, spec: str) -> None:
    """As they are, in float: the graph of an INT8 model is made of the same operators, and of torch's quantized ones."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model = load_float_model(spec)
    size = (getattr(model, "pretrained_cfg", None) or {"input_size": (3, 64, 64)})["input_size"][1]
    loaded(quantize(
        model, calibration=noise(2, size=size), preprocess=preprocess(size), config=QuantizationConfig(recipe="none"), name=spec,
    ), tmp_path)


@pytest.mark.parametrize("recipe", ["static", "mixed", "dynamic", "none"])
def test_every_recipe(tmp_path: Path, recipe: str) -> None:
    """Of a trained model."""
    loaded(digits_artifact(recipe), tmp_path)


@pytest.mark.parametrize("recipe", ["static", "none"])
def test_a_class_of_a_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: str) -> None:
    """It has no module of its own: torch calls it by a name without a dot."""
    monkeypatch.setattr(SmallNet, "__module__", "__main__")
    loaded(quantize(
        SmallNet(), calibration=noise(8), preprocess=SMALL, config=QuantizationConfig(recipe=recipe, **QUICK),
    ), tmp_path)


def test_an_embedding(tmp_path: Path) -> None:
    """Whose graph ends before its head."""
    model, task = task_model(SmallNet(), ModelTaskConfig("embedding"), SMALL)
    loaded(quantize(model, calibration=noise(8), preprocess=SMALL, task=task), tmp_path)


def test_a_detector_of_torchvision(tmp_path: Path) -> None:
    """Backbone and heads of an SSDlite."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model = load_float_model("torchvision:ssdlite320_mobilenet_v3_large")
    given = preprocess(320)
    model, task = task_model(model, ModelTaskConfig("detection"), given)
    images = list(np.random.default_rng(0).integers(0, 256, (2, 320, 320, 3), dtype=np.uint8))
    config = QuantizationConfig(recipe="none")
    loaded(quantize(model, calibration=images, preprocess=given, config=config, task=task, name="ssd"), tmp_path)
