"""A detection network as one function from images to [N, C]: what is quantized, and runs on every engine."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from sparkq.config import AnchorConfig, DetectionConfig
from sparkq.errors import ConfigError, ModelError
from sparkq.model_tasks.detection.outputs import OUTPUT_FORMS

__all__ = ["DetectionOutputs", "SSDMaps", "anchored"]


class DetectionOutputs(nn.Module):
    """float32 [N, 3, H, W] to float32 [N, A * (K + 4)]: the class logits of A anchors, then their box offsets.

    Parameters
    ----------
    model : nn.Module
        In eval mode. Answers with a pair of tensors, a pair of lists of maps, a mapping with ``cls_logits`` and
        ``bbox_regression`` as the heads of torchvision, or with this very tensor. Its layers keep their names.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        for name, parameter in model.named_parameters(recurse=False):
            self.register_parameter(name, parameter)
        for name, buffer in model.named_buffers(recurse=False):
            self.register_buffer(name, buffer)
        for name, module in model.named_children():
            self.add_module(name, module)
        # Not as a module of its own: that would put its name before those of all layers.
        self.__dict__["model"] = model
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Flatten and concatenate the model's answers."""
        answer = self.__dict__["model"].forward(images)
        if isinstance(answer, Mapping):
            answer = _of_mapping(answer)
        if not isinstance(answer, (list, tuple)):
            return answer  # type: ignore[no-any-return]
        if len(answer) != 2:
            raise ModelError(
                f"model {type(self.__dict__['model']).__name__}: {OUTPUT_FORMS}; got {len(answer)} answers.",
                hint="return class logits and box offsets, as a pair.",
            )
        return torch.cat([flat for part in answer for flat in _flattened(part)], dim=1)


def _of_mapping(answer: Mapping[str, Any]) -> tuple[Any, Any]:
    if not {"cls_logits", "bbox_regression"} <= set(answer):
        raise ModelError(
            f"model: expected the answers cls_logits and bbox_regression; got {', '.join(map(str, answer))}.",
            hint="return class logits and box offsets, as a pair or under these names.",
        )
    return answer["cls_logits"], answer["bbox_regression"]


def _flattened(part: Any) -> list[Any]:
    """[N, ...] of one kind of answer; of a map place by place, as anchors stand."""
    if isinstance(part, (list, tuple)):
        return [one.permute(0, 2, 3, 1).flatten(1) for one in part]
    return [part.flatten(1)]


class SSDMaps(nn.Module):
    """torchvision's SSD without what cannot be traced: from normalized images to the maps of its heads.

    Parameters
    ----------
    ssd : torchvision.models.detection.ssd.SSD
        Its layers are taken over, not copied.
    input_size : (int, int)
        Height and width that it was made for.
    """

    def __init__(self, ssd: Any, input_size: tuple[int, int]) -> None:
        super().__init__()
        self.backbone: nn.Module = ssd.backbone
        self.logits, self.offsets = (
            getattr(ssd.head, name).module_list for name in ("classification_head", "regression_head")
        )
        self.anchors = self._anchors_of(ssd, input_size)

    def _anchors_of(self, ssd: Any, input_size: tuple[int, int]) -> AnchorConfig:
        with torch.no_grad():
            maps = self.backbone.eval()(torch.zeros(1, 3, *input_size)).values()
        generator = ssd.anchor_generator
        return AnchorConfig(
            tuple((found.shape[2], found.shape[3]) for found in maps), tuple(generator.scales),
            tuple(tuple(ratios) for ratios in generator.aspect_ratios),
            None if generator.steps is None else tuple(generator.steps), bool(generator.clip), tuple(ssd.box_coder.weights),
        )

    def forward(self, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Class logits and box offsets of each map."""
        maps = list(self.backbone(images).values())
        return (
            [head(found) for head, found in zip(self.logits, maps, strict=True)],
            [head(found) for head, found in zip(self.offsets, maps, strict=True)],
        )


def anchored(model: nn.Module, config: DetectionConfig) -> DetectionConfig:
    """`config` with anchors: its own, else the model's.

    Raises
    ------
    ConfigError
        If there are none.
    """
    found = config.anchors if config.anchors is not None else getattr(model, "anchors", None)
    if not isinstance(found, AnchorConfig):
        raise ConfigError(
            f"detection.anchors: expected the default boxes of model {type(model).__name__}; got "
            f"{'none' if found is None else type(found).__name__}.",
            hint="give detection.anchors, or give the model an attribute `anchors` of sparkq.config.AnchorConfig.",
        )
    return replace(config, anchors=found)
