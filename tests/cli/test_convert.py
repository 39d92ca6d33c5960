"""``sparkq convert`` on real exported files, without Spark."""
from __future__ import annotations

import json
import logging
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sparkq.artifact.file import ModelArtifact
from sparkq.cli import main
from sparkq.images.preprocess import preprocess_content
from sparkq.worker.predictor import Predictor
from tests.float_models.exported.test_loading import save
from tests.models import REFERENCES, SmallNet, reference_files, reference_model
from tests.onnx_files import export, outputs_of

CONFIG = """
model: onnx:nets/resnet20.onnx
output: out/resnet20.sparkq
preprocess:
  resize: {mode: squash, size: 32}
  mean: [0.485, 0.456, 0.406]
  std: [0.229, 0.224, 0.225]
"""


@pytest.fixture(autouse=True)
def _process_state() -> Iterator[None]:
    """A command sets logging and warnings for its process, which here goes on."""
    handlers, level, show = list(logging.root.handlers), logging.root.level, warnings.showwarning
    yield
    logging.root.handlers[:], warnings.showwarning = handlers, show
    logging.root.setLevel(level)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code and the one JSON document."""
    capsys.readouterr()
    code = main(["convert", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def exported(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ResNet-20 as an ONNX file."""
    path = tmp_path_factory.mktemp("exported") / "resnet20.onnx"
    export(reference_model(shared_data, "resnet20"), path, 32)
    return path


@pytest.fixture
def config(exported: Path, tmp_path: Path) -> Path:
    """A config file beside a folder with the model in it."""
    (tmp_path / "nets").mkdir()
    shutil.copy(exported, tmp_path / "nets")
    (tmp_path / "convert.yaml").write_text(CONFIG)
    return tmp_path / "convert.yaml"


def test_an_onnx_file_beside_the_config_becomes_a_float_artifact(
    shared_data: Path, config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its answers to real images are onnxruntime's; twice converted, it has the same golden input and output."""
    monkeypatch.chdir("/")
    code, result = run(capsys, "--config", str(config))
    assert code == 0
    assert (result["name"], result["recipe"], result["classes"], result["calibration_images"]) == ("resnet20", "none", 10, 0)
    artifact = ModelArtifact.load(str(config.parent / "out" / "resnet20.sparkq"))
    assert artifact.digest == result["model_digest"]
    preprocess = REFERENCES["resnet20"].preprocess
    images = np.stack([preprocess_content(data, preprocess) for data in reference_files(shared_data, "resnet20", 5, step=300)])
    normalized = (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - torch.tensor(preprocess.channel_mean).view(3, 1, 1))
    normalized /= torch.tensor(preprocess.channel_std).view(3, 1, 1)
    expected = outputs_of(config.parent / "nets" / "resnet20.onnx", normalized)
    assert np.abs(Predictor(artifact).engine.run(images) - expected).max() < 1e-4
    assert run(capsys, "--config", str(config))[0] == 0
    again = ModelArtifact.load(result["output"])
    assert again.manifest.golden == artifact.manifest.golden


def test_a_pt2_program_with_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(SmallNet().eval(), tmp_path / "small.pt2", 16)
    (tmp_path / "names.txt").write_text("a\nb\nc\nd\n")
    code, result = run(
        capsys, "--model", f"pt2:{tmp_path / 'small.pt2'}", "--output", str(tmp_path / "s.sparkq"), "--labels",
        str(tmp_path / "names.txt"), "--preprocess-resize-mode", "squash", "--preprocess-resize-size", "16",
        "--preprocess-mean", "0", "--preprocess-std", "1", "--report", str(tmp_path / "s.html"),
    )
    assert result["report"] == str(tmp_path / "s.html")
    page = (tmp_path / "s.html").read_text()
    assert result["model_digest"] in page and "keeps the model in float" in page and "conv2" in page
    assert (code, result["name"], result["classes"]) == (0, "small", 4)
    assert ModelArtifact.load(str(tmp_path / "s.sparkq")).manifest.labels == ("a", "b", "c", "d")


@pytest.mark.filterwarnings("ignore:.*no weights given")
def test_an_option_overrides_one_published_setting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The others stay as torchvision published them; where each comes from is printed, and stands in the artifact."""
    output = str(tmp_path / "squeezenet.sparkq")
    arguments = ["--model", "torchvision:squeezenet1_1", "--output", output]
    assert main(["convert", *arguments, "--preprocess-resize-size", "64", "--preprocess-crop", "64"]) == 0
    given = "given: resize.size 64, crop [64, 64]\n"
    published = (
        "published: resize.mode shorter_side, interpolation bilinear, channel_order RGB, rescale 0.00392157, "
        "mean [0.485, 0.456, 0.406], std [0.229, 0.224, 0.225]\n"
    )
    printed = capsys.readouterr().out
    assert f"pixels  {given}" in printed and f"pixels  {published}" in printed
    manifest = ModelArtifact.load(output).manifest
    assert (manifest.preprocess.mean, manifest.preprocess.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert (manifest.preprocess_origin["crop"], manifest.preprocess_origin["mean"]) == ("given", "published")
    assert main(["inspect", "--model", output]) == 0
    printed = capsys.readouterr().out
    assert f"preprocess  {published}" in printed and given in printed


@pytest.mark.parametrize(("arguments", "words"), [
    (["--preprocess-resize-size", "48"], "expected images of [3, 32, 32]"),
    (["--quantization-recipe", "static"], "calibration images"),
    (["--model", "onnx:nowhere.onnx"], "nothing there"),
    (["--model", "onnx:"], "onnx:FILE"),
    (["--weights", "nowhere.safetensors"], "nothing there"),
])
def test_what_cannot_be_converted_writes_nothing(
    config: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str,
) -> None:
    """Exit code 1, one sentence, a hint."""
    code, result = run(capsys, "--config", str(config), *arguments)
    assert code == 1 and words in result["error"]["message"] and result["error"]["hint"]
    assert not (config.parent / "out").exists()


def test_calibration_images_make_it_int8(
    spark: object, shared_data: Path, config: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    """All layers in INT8, calibrated on as many as asked for (others are held out), in half the bytes; and one document."""
    (config.parent / "images").mkdir()
    for index, content in enumerate(reference_files(shared_data, "resnet20", 100, step=20)):
        (config.parent / "images" / f"{index}.jpg").write_bytes(content)
    arguments = ["--calibration-input", str(config.parent / "images"), "--calibration-images", "40", "--json"]
    assert main(["convert", "--config", str(config), *arguments]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["recipe"], result["calibration_images"], result["float_layers"]) == ("static", 40, [])
    assert result["artifact_bytes"] < 0.5 * result["float_bytes"]
