"""timm and torchvision by name, with the number of classes that the user's weights have."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from sparkq.errors import ModelError
from sparkq.float_models.load import load_float_model
from sparkq.float_models.named import import_model_library


def _made(spec: str, classes: int) -> Any:
    source, _, name = spec.partition(":")
    library = import_model_library(source)
    if source == "timm":
        return library.create_model(name, pretrained=False, num_classes=classes)
    return library.models.get_model(name, weights=None, num_classes=classes)


@pytest.mark.parametrize("spec", ["timm:mobilenetv3_small_050", "timm:resnet18", "torchvision:squeezenet1_1"])
@pytest.mark.parametrize("prefix", ["", "module."], ids=["plain", "of a parallel wrapper"])
def test_a_fine_tuned_model(spec: str, prefix: str, tmp_path: Path) -> None:
    """Three classes instead of a thousand: the network has as many outputs, and every weight."""
    theirs = _made(spec, 3).eval()
    path = str(tmp_path / "weights.safetensors")
    save_file({f"{prefix}{name}": tensor for name, tensor in theirs.state_dict().items()}, path)
    ours = load_float_model(spec, path)
    images = torch.rand(2, 3, 96, 96)
    with torch.no_grad():
        assert torch.equal(ours(images), theirs(images)) and ours(images).shape == (2, 3)


def test_weights_of_another_network(tmp_path: Path) -> None:
    """Are no reason to change anything but the last layer."""
    path = str(tmp_path / "weights.safetensors")
    save_file(dict(_made("timm:resnet34", 3).state_dict()), path)
    with pytest.raises(ModelError, match="the weights belong to another architecture"):
        load_float_model("timm:resnet18", path)
