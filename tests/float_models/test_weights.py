"""Weights out of an ONNX file, where its initializers have the model's names."""
from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sparkq.errors import ModelError
from sparkq.float_models.load import load_float_model
from tests.float_models.exported.test_loading import save
from tests.models import SmallNet, reference_model
from tests.onnx_files import export


def test_squeezenet_filled_from_its_export(shared_data: Path, tmp_path: Path) -> None:
    """A network without BatchNorm keeps its names in the file."""
    model = reference_model(shared_data, "squeezenet")
    path = export(model, tmp_path / "squeezenet.onnx", 227)
    filled = load_float_model(f"{shared_data}/models/reference_models.py:squeezenet_1_1", str(path)).state_dict()
    assert filled.keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(filled[name], tensor), name


def test_an_export_with_folded_batch_norm_does_not_fit(shared_data: Path, tmp_path: Path) -> None:
    """Its weights are others than the model's, though some have the same names."""
    path = export(reference_model(shared_data, "resnet20"), tmp_path / "resnet20.onnx", 32)
    with pytest.raises(ModelError, match="missing") as caught:
        load_float_model(f"{shared_data}/models/reference_models.py:resnet20_cifar10", str(path))
    assert caught.value.hint and "onnx:FILE" in caught.value.hint


def test_a_pt2_program_takes_other_weights(tmp_path: Path) -> None:
    """Fine-tuned ones of the same architecture, by the names of the exported module."""
    save(SmallNet().eval(), tmp_path / "small.pt2", 16)
    state = {name: tensor + 0.25 for name, tensor in SmallNet().state_dict().items() if tensor.is_floating_point()}
    save_file(state, tmp_path / "w.safetensors")
    loaded = load_float_model(f"pt2:{tmp_path / 'small.pt2'}", str(tmp_path / "w.safetensors")).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())
