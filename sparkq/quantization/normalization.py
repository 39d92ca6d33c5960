"""The first thing in a payload's graph: from uint8 NHWC RGB to what the float model was trained on."""
from __future__ import annotations

import torch
from torch import Tensor, nn

from sparkq.config import PreprocessConfig

__all__ = ["WithNormalization", "normalize", "pixel_values"]


class WithNormalization(nn.Module):
    """``model((pixel * rescale - mean) / std)`` on uint8 [N, H, W, 3] RGB.

    Parameters
    ----------
    model : nn.Module
        Takes float32 [N, 3, H, W] in `preprocess.channel_order`.
    preprocess : PreprocessConfig
        ``rescale``, ``mean``, ``std`` and the channel order.
    width : int, optional
        W of the images; default: the input size's.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, model: nn.Module, preprocess: PreprocessConfig, *, width: int | None = None) -> None:
        super().__init__()
        self.model = model
        self.reverses_channels = preprocess.channel_order == "BGR"
        mean = torch.tensor(preprocess.channel_mean, dtype=torch.float64)
        std = torch.tensor(preprocess.channel_std, dtype=torch.float64)
        width = preprocess.input_size[1] if width is None else width
        # (x * rescale - mean) / std as one multiplication and one addition a pixel, folded in double precision. A whole row of
        # the image at once: three numbers at a time cost torch twice the time.
        self.register_buffer("scale", (float(preprocess.rescale) / std).to(torch.float32).repeat(width))
        self.register_buffer("shift", (-mean / std).to(torch.float32).repeat(width))

    def forward(self, images: Tensor) -> Tensor:
        """uint8 [N, H, W, 3] to the model's output [N, C]."""
        output: Tensor = self.model(self.normalized(images))
        return output

    def normalized(self, images: Tensor) -> Tensor:
        """uint8 [N, H, W, 3] to float32 [N, 3, H, W] in channels_last memory."""
        if self.reverses_channels:
            images = images.flip(3)
        rows = images.flatten(2).to(torch.float32) * self.scale + self.shift
        return torch.unflatten(rows, 2, (-1, 3)).permute(0, 3, 1, 2)


def normalize(images: Tensor, preprocess: PreprocessConfig) -> Tensor:
    """Normalize uint8 [N, H, W, 3] RGB as the payload does, float32 [N, 3, H, W]."""
    return WithNormalization(nn.Identity(), preprocess, width=images.shape[2]).normalized(images)


def pixel_values(preprocess: PreprocessConfig) -> Tensor:
    """Compute the 256 values of a pixel after normalization, float32 [256, 3, 1, 1]."""
    grays = torch.arange(256, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 1, 3)
    return normalize(grays, preprocess)
