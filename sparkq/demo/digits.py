"""The demonstration's model and data: the handwritten digits that ship inside scikit-learn.

They are 1797 real scans of 8 x 8 pixels (E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits, UCI 1998).
"""
from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from sparkq.config import PreprocessConfig, ResizeConfig
from sparkq.errors import InputError
from sparkq.images.preprocess import preprocess_array
from sparkq.quantization.normalization import normalize

__all__ = ["PREPROCESS", "Digits", "DigitsNet", "load_digits", "train_digits_net", "write_images"]

PREPROCESS = PreprocessConfig(resize=ResizeConfig("squash", 32), mean=0.5, std=0.25)
_HELD_OUT = 500
_SEED = 0


@dataclass(frozen=True)
class Digits:
    """Decoded scans, uint8 [N, 8, 8, 3], and their digit, int64 [N]."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]


class DigitsNet(nn.Module):
    """Three convolutions with BatchNorm and ReLU, and a linear layer. Takes float32 [N, 3, 32, 32]."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in ((3, 16), (16, 32), (32, 64)):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """float32 [N, 3, 32, 32] to logits, float32 [N, 10]."""
        logits: torch.Tensor = self.classifier(self.features(x).mean((2, 3)))
        return logits


def load_digits() -> tuple[Digits, Digits]:
    """(training scans, held-out scans), split once and for all by a fixed seed.

    Raises
    ------
    InputError
        If scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits as load_sklearn_digits
    except ImportError as error:
        raise InputError(
            "demo: expected scikit-learn, whose digits it uses; got none.", hint="pip install 'sparkq[demo]'.",
        ) from error
    loaded = load_sklearn_digits()
    gray = np.round(loaded.images * (255 / 16)).astype(np.uint8)
    images, labels = np.repeat(gray[..., np.newaxis], 3, axis=3), loaded.target.astype(np.int64)
    order = np.random.default_rng(_SEED).permutation(len(images))
    train, held_out = order[:-_HELD_OUT], order[-_HELD_OUT:]
    return Digits(images[train], labels[train]), Digits(images[held_out], labels[held_out])


def train_digits_net(digits: Digits, *, epochs: int = 12, batch_size: int = 64) -> DigitsNet:
    """Train a `DigitsNet` with Adam and a one-cycle learning rate; the same result every time on the same machine."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        model = DigitsNet().train()
        pixels = torch.from_numpy(np.stack([preprocess_array(image, PREPROCESS) for image in digits.images]))
        inputs, labels = normalize(pixels, PREPROCESS), torch.from_numpy(digits.labels)
        steps = epochs * -(-len(inputs) // batch_size)
        optimizer = torch.optim.Adam(model.parameters())
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=steps)
        for _ in range(epochs):
            for chosen in torch.randperm(len(inputs)).split(batch_size):  # type: ignore[no-untyped-call]
                optimizer.zero_grad()
                F.cross_entropy(model(inputs[chosen]), labels[chosen]).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
    return model.eval()


def write_images(digits: Digits, folder: Path) -> Path:
    """Write each scan as a grayscale PNG under ``folder/images``, and ``labels.csv``; returns the CSV's path."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    labels_csv = folder / "labels.csv"
    with labels_csv.open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(["path", "label"])
        for index, (image, label) in enumerate(zip(digits.images, digits.labels, strict=True)):
            path = f"images/{index:04d}.png"
            Image.fromarray(image[:, :, 0]).save(folder / path)
            rows.writerow([path, int(label)])
    return labels_csv
