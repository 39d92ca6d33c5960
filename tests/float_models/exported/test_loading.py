"""``.pt2`` files: the same function as the module that was exported, and nothing of a file is executed."""
from __future__ import annotations

import contextlib
import io
import json
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import fx, nn

from sparkq.config import QuantizationConfig
from sparkq.errors import InputError, ModelError, SparkqError
from sparkq.float_models.exported import load_pt2
from sparkq.float_models.load import load_float_model
from sparkq.quantization import quantize
from tests.models import REFERENCES, SmallNet, reference_files, reference_model

SIZES = {"resnet20": 32, "squeezenet": 227, "mobilenet": 224}


def save(model: nn.Module, path: Path, size: int, *, free_batch: bool = False) -> Path:
    """Export and save `model` as torch does."""
    shapes = ({0: torch.export.Dim.DYNAMIC},) if free_batch else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(model, (torch.zeros(2 if free_batch else 1, 3, size, size),), dynamic_shapes=shapes)
        torch.export.save(program, path)
    return path


def changed(path: Path, change: Callable[[str, bytes], bytes | None]) -> Path:
    """A copy of the archive with files changed or (None) left out."""
    target = path.with_name(f"changed_{path.name}")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as copy:
        for name in source.namelist():
            data = change(name, source.read(name))
            if data is not None:
                copy.writestr(name, data)
    return target


def refused(path: Path, kind: type[SparkqError] = ModelError) -> str:
    """Why, in one line that names the file, with a hint."""
    with pytest.raises(kind) as caught:
        load_float_model(f"pt2:{path}")
    assert "\n" not in str(caught.value) and str(path) in caught.value.message and caught.value.hint
    assert "expected" in caught.value.message and "got" in caught.value.message
    return caught.value.message


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A real program."""
    return save(SmallNet().eval(), tmp_path / "small.pt2", 16)


@pytest.mark.parametrize("free_batch", [False, True], ids=["batch 1", "batch free"])
@pytest.mark.parametrize("name", REFERENCES)
def test_trained_models_come_back_exactly(shared_data: Path, tmp_path: Path, name: str, free_batch: bool) -> None:
    """To the bit, on three images, with the layers' names."""
    model = reference_model(shared_data, name)
    loaded = load_pt2(str(save(model, tmp_path / f"{name}.pt2", SIZES[name], free_batch=free_batch)))
    images = torch.randn(3, 3, SIZES[name], SIZES[name], generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        assert torch.equal(fx.symbolic_trace(loaded)(images), model(images))
    expected = model.state_dict()
    for key, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, expected[key]), key
    assert loaded.meta["image_shape"] == (3, SIZES[name], SIZES[name])


def test_a_program_is_quantized_as_its_model(shared_data: Path, tmp_path: Path) -> None:
    """The same INT8 answer to the golden input, to the bit: the graph fuses as the module's own does."""
    model, preprocess = reference_model(shared_data, "resnet20"), REFERENCES["resnet20"].preprocess
    loaded = load_pt2(str(save(model, tmp_path / "m.pt2", 32)))
    files = reference_files(shared_data, "resnet20", 32, step=40)
    manifests = [
        quantize(each, calibration=files, preprocess=preprocess, config=QuantizationConfig()).manifest for each in (model, loaded)
    ]
    assert manifests[0].float_layers == manifests[1].float_layers == ()
    assert (manifests[0].golden.output == manifests[1].golden.output).all()


class Canary:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


def test_pickled_weights_are_refused_and_not_executed(small: Path, tmp_path: Path) -> None:
    """What torch.export.load would unpickle with code in it."""
    canary = tmp_path / "canary"
    stream = io.BytesIO()
    torch.save(Canary(canary), stream)

    def change(name: str, data: bytes) -> bytes:
        if name.endswith("model_weights_config.json"):
            config = json.loads(data)
            config["config"]["conv1.weight"]["use_pickle"] = True
            return json.dumps(config).encode()
        return stream.getvalue() if name.endswith("weights/weight_0") else data

    path = changed(small, change)
    assert "pickled" in refused(path)
    assert not canary.exists()
    # torch itself executes it: the reason why it does not read these files here.
    with warnings.catch_warnings(), contextlib.suppress(Exception):
        warnings.simplefilter("ignore")
        torch.export.load(path)
    assert canary.exists()


def test_pickled_inputs_beside_the_program_are_not_read(small: Path, tmp_path: Path) -> None:
    """The example inputs are a pickle that nothing here needs."""
    canary = tmp_path / "canary"
    path = changed(small, lambda name, data: pickle.dumps(Canary(canary)) if "sample_inputs" in name else data)
    assert load_pt2(str(path))(torch.zeros(1, 3, 16, 16)).shape == (1, 4)
    assert not canary.exists()


@pytest.mark.parametrize("target", ["torch.ops.aten.from_file.default", "torch.ops.prim.device.default", "_operator.attrgetter"])
def test_an_operator_that_no_classifier_needs(small: Path, target: str) -> None:
    """By name, whatever it would do."""
    path = changed(small, lambda name, data: data.replace(b"torch.ops.aten.relu.default", target.encode()))
    message = refused(path)
    assert target.removeprefix("torch.ops.") in message and "relu" in message


def test_missing_file(tmp_path: Path) -> None:
    assert "nothing there" in refused(tmp_path / "no.pt2", InputError)


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.99])
def test_truncated_file(small: Path, keep: float) -> None:
    data = small.read_bytes()
    small.write_bytes(data[:int(len(data) * keep)])
    refused(small)


@pytest.mark.parametrize("part", ["models/model.json", "weights_config.json", "weight_0", "archive_format"])
def test_archive_with_a_part_missing_or_damaged(small: Path, part: str) -> None:
    refused(changed(small, lambda name, data: None if name.endswith(part) else data))
    refused(changed(small, lambda name, data: data[:-3] if name.endswith(part) else data))


def test_several_inputs(tmp_path: Path) -> None:
    class Two(nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return (x + y).mean((2, 3))

    path = tmp_path / "two.pt2"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(Two(), (torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8))), path)
    assert "one input" in refused(path)
