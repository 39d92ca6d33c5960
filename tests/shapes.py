"""Generated images of rectangles, circles and triangles, and a small SSD that learns to find them in seconds."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torch.nn import functional as F

from sparkq.config import AnchorConfig, PreprocessConfig, ResizeConfig
from sparkq.model_tasks.detection.boxes import anchor_boxes, overlaps

NAMES = ("background", "rectangle", "circle", "triangle")
INPUT = 96
PREPROCESS = PreprocessConfig(resize=ResizeConfig("squash", INPUT), mean=0.5, std=0.25)
ANCHORS = AnchorConfig(
    feature_maps=((12, 12), (6, 6), (3, 3)), scales=(0.18, 0.35, 0.6, 0.9), aspect_ratios=((2.0,), (2.0,), (2.0,)),
)


@dataclass(frozen=True)
class Scene:
    """An image, uint8 [H, W, 3], and what is in it."""

    image: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    corners: npt.NDArray[np.float32]


def scene(seed: int, height: int = INPUT, width: int = INPUT) -> Scene:
    """One to three shapes that hardly overlap, on a noisy ground."""
    random = np.random.default_rng(seed)
    ground = random.integers(0, 120, 3) + random.integers(0, 40, (height, width, 3))
    image = Image.fromarray(ground.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    labels: list[int] = []
    corners: list[tuple[float, ...]] = []
    for _ in range(int(random.integers(1, 4))):
        size = random.uniform(0.22, 0.5, 2) * (width, height)
        low = random.uniform(0, 1, 2) * ((width, height) - size)
        box = tuple(np.round([*low, *(low + size)]).astype(float))
        if any(_touch(box, other) for other in corners):
            continue
        label = int(random.integers(1, 4))
        _draw(draw, label, box, tuple(int(value) for value in random.integers(130, 256, 3)))
        labels.append(label)
        corners.append(box)
    return Scene(np.asarray(image), np.array(labels), np.array(corners, np.float32))


def _touch(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _draw(draw: ImageDraw.ImageDraw, label: int, box: tuple[float, ...], colour: tuple[int, ...]) -> None:
    """What of it lies in pixels reaches from the box's first pixel to its last."""
    x_min, y_min, x_max, y_max = box[0], box[1], box[2] - 1, box[3] - 1
    if label == 1:
        draw.rectangle((x_min, y_min, x_max, y_max), fill=colour)
    elif label == 2:
        draw.ellipse((x_min, y_min, x_max, y_max), fill=colour)
    else:
        draw.polygon([((x_min + x_max) / 2, y_min), (x_max, y_max), (x_min, y_max)], fill=colour)


class SmallSSD(nn.Module):
    """Three feature maps with heads of their own, the first map scaled to length 1 as SSD does."""

    anchors = ANCHORS

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_block(3, 16, 2), *_block(16, 32, 2), *_block(32, 48, 2), *_block(48, 48, 1))
        self.further = nn.ModuleList([nn.Sequential(*_block(48, 64, 2)), nn.Sequential(*_block(64, 64, 2))])
        self.scale = nn.Parameter(torch.full((48,), 8.0))
        heads = list(zip((48, 64, 64), ANCHORS.per_place, strict=True))
        self.logits = nn.ModuleList(nn.Conv2d(channels, boxes * len(NAMES), 3, padding=1) for channels, boxes in heads)
        self.offsets = nn.ModuleList(nn.Conv2d(channels, boxes * 4, 3, padding=1) for channels, boxes in heads)

    def forward(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Class logits and box offsets of each map."""
        x = self.stem(x)
        maps = [self.scale.view(1, -1, 1, 1) * F.normalize(x)]
        for block in self.further:
            x = block(x)
            maps.append(x)
        logits = [head(found) for head, found in zip(self.logits, maps, strict=True)]
        return logits, [head(found) for head, found in zip(self.offsets, maps, strict=True)]


def _block(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


def trained_ssd(model: nn.Module | None = None, *, images: int = 512, steps: int = 250, batch: int = 16) -> nn.Module:
    """Train `model` (default: a `SmallSSD`) with SSD's loss (Liu et al. 2016, section 2.2).

    That is cross entropy with hard negatives, and smooth L1 of the offsets.
    """
    torch.manual_seed(0)
    model = SmallSSD() if model is None else model
    anchors = model.anchors
    scenes = [scene(seed) for seed in range(images)]
    pixels = torch.from_numpy(np.stack([one.image for one in scenes])).permute(0, 3, 1, 2).float() / 255
    pixels = (pixels - 0.5) / 0.25
    targets = [_target(one, anchors) for one in scenes]
    classes, offsets = (torch.stack(parts) for parts in zip(*targets, strict=True))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for _ in range(steps):
        chosen = torch.randint(images, (batch,))
        answered = [torch.cat([one.permute(0, 2, 3, 1).flatten(1) for one in part], 1) for part in model(pixels[chosen])]
        loss = _loss(answered[0].view(batch, -1, len(NAMES)), answered[1].view(batch, -1, 4), classes[chosen], offsets[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def _target(one: Scene, config: AnchorConfig) -> tuple[Tensor, Tensor]:
    """Class and offsets of each anchor: of the true box that it overlaps by a half, or that overlaps no other one more."""
    boxes = anchor_boxes(config, (INPUT, INPUT))
    anchors, truth = torch.from_numpy(boxes), torch.from_numpy(one.corners)
    found = torch.from_numpy(overlaps(boxes, one.corners))
    best, nearest = found.max(1)
    best[found.argmax(0)] = 1.0
    nearest[found.argmax(0)] = torch.arange(len(truth))
    classes = torch.where(best > 0.5, torch.from_numpy(one.labels)[nearest], 0)
    return classes, encode_boxes(truth[nearest], anchors, config.box_weights)


def encode_boxes(boxes: Tensor, anchors: Tensor, weights: tuple[float, ...]) -> Tensor:
    """Offsets, float32 [B, 4], of which `decode_boxes` makes `boxes`: the targets that a network is trained on."""
    sizes, wanted = anchors[:, 2:] - anchors[:, :2], boxes[:, 2:] - boxes[:, :2]
    moved = ((boxes[:, :2] + boxes[:, 2:]) - (anchors[:, :2] + anchors[:, 2:])) / 2 / sizes
    return torch.cat((moved, (wanted / sizes).log()), dim=1) * boxes.new_tensor(weights)


def _loss(logits: Tensor, offsets: Tensor, classes: Tensor, wanted: Tensor) -> Tensor:
    positive = classes > 0
    losses = F.cross_entropy(logits.flatten(0, 1), classes.flatten(), reduction="none").view_as(classes)
    hardest = losses.detach().masked_fill(positive, 0).argsort(1, descending=True).argsort(1)
    chosen = positive | (hardest < 3 * positive.sum(1, keepdim=True))
    boxes = F.smooth_l1_loss(offsets[positive], wanted[positive], reduction="sum")
    return (losses[chosen].sum() + boxes) / positive.sum().clamp(min=1)
