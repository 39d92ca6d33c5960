"""Writes the golden artifacts: one of each model task, below 60 kB, of small networks trained on generated and scanned images.

Run it once when a protocol of the artifact lands, from the root of the project, and commit what it writes::

    python -m tests.artifact.golden.make tests/artifact/golden

Files that are there are left as they are: they are what a reader must go on reading. How those of protocols 1 to 3 were made,
which this version cannot write any more, stands in ``make_earlier.py``.
"""
from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sparkq
from sparkq.artifact.file import PROTOCOL
from sparkq.config import AnchorConfig, QuantizationConfig
from sparkq.demo.digits import PREPROCESS, Digits, load_digits
from sparkq.images.preprocess import preprocess_array
from sparkq.quantization.normalization import normalize
from tests import shapes

# Of target avx2, which runs rightly on every x86 CPU that tests may run on.
STORED, CODED = QuantizationConfig(target="avx2", entropy_coding=False), QuantizationConfig(target="avx2")
DIGIT_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CALIBRATION_IMAGES = 64


class TinyDigitsNet(nn.Module):
    """The demonstration's network with half as many channels."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in ((3, 8), (8, 16), (16, 32)):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        """float32 [N, 3, 32, 32] to logits, float32 [N, 10]."""
        logits: Tensor = self.classifier(self.features(x).mean((2, 3)))
        return logits


class TinySSD(nn.Module):
    """One feature map with two boxes at each place."""

    anchors = AnchorConfig(feature_maps=((6, 6),), scales=(0.3, 0.5), aspect_ratios=((),))

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs, stride in ((3, 8, 4), (8, 16, 2), (16, 16, 2)):
            layers += [nn.Conv2d(inputs, outputs, 5, stride, 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        self.stem = nn.Sequential(*layers)
        self.logits = nn.Conv2d(16, 2 * len(shapes.NAMES), 3, padding=1)
        self.offsets = nn.Conv2d(16, 2 * 4, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """float32 [N, 3, 96, 96] to class logits and box offsets, one map each."""
        x = self.stem(x)
        return [self.logits(x)], [self.offsets(x)]


def classification() -> sparkq.ModelArtifact:
    """Digits by name; its payload is stored as it is."""
    return _digits(labels=DIGIT_NAMES, config=STORED, name="golden digits")


def embedding() -> sparkq.ModelArtifact:
    """The vector that the digits' last layer takes; its payload is coded."""
    return _digits(task="embedding", config=CODED, name="golden embedding")


def detection() -> sparkq.ModelArtifact:
    """Boxes of generated shapes; its payload is coded."""
    return sparkq.quantize(
        shapes.trained_ssd(TinySSD()), preprocess=shapes.PREPROCESS, labels=shapes.NAMES, task="detection",
        # Eight shades a channel: a golden input of noise would be larger than the network.
        calibration=[shapes.scene(10_000 + seed).image // 32 * 32 for seed in range(CALIBRATION_IMAGES)],
        config=CODED, name="golden shapes",
    )


def _digits(**options: Any) -> sparkq.ModelArtifact:
    scans = load_digits()[0]
    model = _trained(TinyDigitsNet(), scans)
    return sparkq.quantize(model, calibration=scans.images[:CALIBRATION_IMAGES], preprocess=PREPROCESS, **options)


def _trained(model: nn.Module, scans: Digits) -> nn.Module:
    pixels = torch.from_numpy(np.stack([preprocess_array(image, PREPROCESS) for image in scans.images]))
    inputs, labels = normalize(pixels, PREPROCESS), torch.from_numpy(scans.labels)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    for _ in range(8):
        for chosen in torch.randperm(len(inputs)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(inputs[chosen]), labels[chosen]).backward()
            optimizer.step()
    return model.eval()


def main(folder: Path) -> None:
    """Write what is not there yet."""
    torch.set_num_threads(1)
    for make in (classification, embedding, detection):
        path = folder / f"{make.__name__}_protocol{PROTOCOL}.sparkq"
        if not path.exists():
            torch.manual_seed(0)
            make().save(str(path))
        print(path, path.stat().st_size, sparkq.ModelArtifact.load(str(path)).digest)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
