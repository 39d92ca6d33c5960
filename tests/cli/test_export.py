"""``sparkq export``: files that other tools open, checked before they are written."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sparkq.artifact.file import ModelArtifact
from sparkq.worker.predictor import Predictor
from tests.cli.conftest import Command


@pytest.mark.parametrize(("to", "names"), [
    ("onnx", ["out.onnx"]), ("openvino", ["out.xml", "out.bin"]), ("pt2", ["out.pt2"]),
])
def test_every_format(sparkq: Command, model: Path, tmp_path: Path, to: str, names: list[str]) -> None:
    """Written whole, and run here on the golden input."""
    found = sparkq("export", "--model", model, "--to", to, "--output", tmp_path / names[0], "--json")
    assert found.code == 0
    document = found.document
    assert [Path(entry["path"]).name for entry in document["files"]] == names
    assert [entry["bytes"] for entry in document["files"]] == [(tmp_path / name).stat().st_size for name in names]
    assert document["golden_sqnr_db"] > 20 and document["checked_with"]


def test_the_file_is_the_model(sparkq: Command, model: Path, tmp_path: Path) -> None:
    """ONNX Runtime answers as the artifact does, on images that it was not checked with."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime runs the file")
    assert sparkq("export", "--model", model, "--to", "onnx", "--output", tmp_path / "out.onnx").code == 0
    artifact = ModelArtifact.load(str(model))
    height, width = artifact.manifest.input_size
    images = np.random.default_rng(0).integers(0, 256, (16, height, width, 3), dtype=np.uint8)
    session = onnxruntime.InferenceSession(str(tmp_path / "out.onnx"), providers=["CPUExecutionProvider"])
    got = session.run(None, {"images": images})[0]
    assert np.array_equal(got.argmax(1), Predictor(artifact).engine.run(images).argmax(1))


@pytest.mark.parametrize(("to", "output", "words"), [
    ("tflite", "out.tflite", "expected one of onnx, openvino, pt2"), ("onnx", "out.xml", "ends in .onnx"),
])
def test_what_cannot_be_written(sparkq: Command, model: Path, tmp_path: Path, to: str, output: str, words: str) -> None:
    """One sentence, and no file."""
    found = sparkq("export", "--model", model, "--to", to, "--output", tmp_path / output)
    assert found.code == 1 and words in found.err and not (tmp_path / output).exists()
