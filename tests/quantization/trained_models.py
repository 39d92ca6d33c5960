"""Real trained models and real images for the tests of this folder."""
from __future__ import annotations

import csv
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from sparkq.config import PreprocessConfig, ResizeConfig
from sparkq.images.preprocess import preprocess_content
from sparkq.quantization.calibration.image_set import CalibrationSet

MODELS = {
    "mobilenet_v1_025": (
        "mobilenet_v1_0.25_224.pt", "photos_jpeg",
        PreprocessConfig(resize=ResizeConfig("shorter_side", 256), crop=224, rescale="1/127.5", mean=1.0),
    ),
    "squeezenet_1_1": (
        "squeezenet_v1.1.pt", "photos_jpeg",
        PreprocessConfig(resize=ResizeConfig("squash", 227), channel_order="BGR", rescale=1.0, mean=(104, 117, 123)),
    ),
    "resnet20_cifar10": (
        "resnet20_cifar10.pt", "cifar10",
        PreprocessConfig(resize=ResizeConfig("squash", 32), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    ),
}


@dataclass(frozen=True)
class Trained:
    """A trained model, its preprocessing, and real images at its input size."""

    model: nn.Module
    preprocess: PreprocessConfig
    calibration: CalibrationSet
    held_out: npt.NDArray[np.uint8]


def trained(shared_data: Path, name: str, images: int = 24, held_out: int = 16) -> Trained:
    weights, folder, preprocess = MODELS[name]
    spec = importlib.util.spec_from_file_location("reference_models", shared_data / "models" / "reference_models.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model: nn.Module = getattr(module, name)()
    model.load_state_dict(torch.load(shared_data / "models" / weights, weights_only=True))
    with (shared_data / folder / "labels.csv").open() as lines:
        paths = [row["path"] for row in csv.DictReader(lines)]
    step = len(paths) // (images + held_out)
    chosen = np.stack([
        preprocess_content((shared_data / folder / path).read_bytes(), preprocess)
        for path in paths[::step][: images + held_out]
    ])
    return Trained(model.eval(), preprocess, CalibrationSet(chosen[:images], "test"), chosen[images:])
