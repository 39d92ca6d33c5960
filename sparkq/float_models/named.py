"""Architectures of timm and torchvision by name."""
from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import torch
from torch import nn

from sparkq.errors import ModelError, one_line
from sparkq.float_models.published_preprocess import PUBLISHED

__all__ = ["LIBRARIES", "import_model_library", "named_architecture"]

LIBRARIES = ("timm", "torchvision")

_TORCHVISION_OPS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_libraries: list[torch.library.Library] = []


def named_architecture(source: str, name: str, weights: Mapping[str, torch.Tensor] | None = None) -> nn.Module:
    """Build ``timm:NAME`` or ``torchvision:NAME`` with random weights, and as many classes as `weights` have.

    Raises
    ------
    ModelError
        If the library is not there, or knows no such model.
    """
    model = _built(source, name)
    classes = None if weights is None else _other_classes(model, weights)
    return model if classes is None else _built(source, name, num_classes=classes)


def _other_classes(model: nn.Module, weights: Mapping[str, torch.Tensor]) -> int | None:
    """How many classes `weights` were trained for, where only the last layer's length differs: a fine-tuned model's."""
    expected = model.state_dict()
    shapes = {name.removeprefix("module."): tensor.shape for name, tensor in weights.items()}
    other = [name for name, shape in shapes.items() if name in expected and shape != expected[name].shape]
    same_inputs = all(shapes[name][1:] == expected[name].shape[1:] for name in other)
    counts = {shapes[name][:1] for name in other}
    return counts.pop()[0] if len(other) in (1, 2) and same_inputs and len(counts) == 1 else None


def _built(source: str, name: str, **arguments: Any) -> nn.Module:
    library = import_model_library(source)
    try:
        if source == "timm":
            model = library.create_model(name, pretrained=False, **arguments)
        else:
            arguments |= _torchvision_arguments(library.models, name)
            model = library.models.get_model(name, weights=None, **arguments)
            _describe_input(model, name, library)
    # Both libraries raise kinds of their own for unknown names and for packages that a model needs.
    except Exception as error:
        raise ModelError(
            f"model {source}:{name}: expected a model of {source}; got {one_line(error)}.",
            hint=f"{source}.{'list_models()' if source == 'timm' else 'models.list_models()'} names them.",
        ) from error
    found: nn.Module = model
    return found


def _describe_input(model: nn.Module, name: str, library: ModuleType) -> None:
    """Describe, as timm does, the input of a model of torchvision's that classifies images."""
    preset = getattr(library.models.get_model_weights(name), "DEFAULT").transforms()
    if hasattr(preset, "crop_size"):
        crop, resize = preset.crop_size[0], preset.resize_size[0]
        setattr(model, PUBLISHED, {
            "architecture": name, "input_size": (3, crop, crop), "resize_size": (resize, resize),
            "interpolation": preset.interpolation.value, "mean": preset.mean, "std": preset.std,
        })


def _torchvision_arguments(models: Any, name: str) -> dict[str, Any]:
    # Their auxiliary training heads and slow truncated-normal initialization serve nothing here.
    if name in ("googlenet", "inception_v3"):
        return {"init_weights": False}
    # Detection models download weights of their backbone even where none are asked for.
    takes_backbone = "weights_backbone" in inspect.signature(models.get_model_builder(name)).parameters
    return {"weights_backbone": None} if takes_backbone else {}


def import_model_library(name: str) -> ModuleType:
    """The package, also where torchvision's compiled part does not fit torch.

    Raises
    ------
    ModelError
        If it is not installed.
    """
    try:
        _make_torchvision_importable()
        importlib.import_module("torchvision.models")
        module = importlib.import_module(name)
    except ImportError as error:
        raise ModelError(
            f"model source {name}: expected the package; got {one_line(error)}.", hint="pip install 'sparkq[models]'.",
        ) from error
    return module


def _make_torchvision_importable() -> None:
    """Let torchvision import beside a CPU build of torch.

    Its wheel on PyPI is built for CUDA; beside a CPU torch its C++ extension does not load, and its Python code then
    fails on the first operator that it finds undeclared (``operator torchvision::nms does not exist``). Architectures
    and transforms are pure Python: with the two schemas declared, both import. Only done when the import fails so.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for loaded in [module for module in sys.modules if module.partition(".")[0] == "torchvision"]:
            del sys.modules[loaded]
        library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        for schema in _TORCHVISION_OPS:
            library.define(schema)  # type: ignore[no-untyped-call]
        _libraries.append(library)  # its operators vanish with it
