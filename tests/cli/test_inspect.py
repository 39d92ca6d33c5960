"""``sparkq inspect``: what an artifact says of itself, without torch or Spark."""
from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import yaml

from sparkq.artifact.file import ModelArtifact
from tests import HANG_SECONDS
from tests.cli.conftest import Command


def test_document(sparkq: Command, model: Path) -> None:
    """The manifest, but for the golden pair."""
    found = sparkq("inspect", "--model", model, "--json")
    assert found.code == 0
    manifest = ModelArtifact.load(str(model)).manifest
    document = found.document
    assert (document["name"], document["task"], document["classes"]) == ("DigitsNet", "classification", 10)
    assert (document["input_size"], document["preprocess"]["resize"]) == ([32, 32], {"mode": "squash", "size": [32, 32]})
    assert document["quantization"]["recipe"] == "static"
    assert document["labels"] == list(manifest.labels or ())
    assert (document["payload_sha256"], document["protocol"]) == (manifest.payload_sha256, 4)
    assert (document["calibration_images"], document["calibration_fingerprint"]) == (64, manifest.calibration_fingerprint)
    assert (document["path"], document["file_bytes"]) == (str(model), model.stat().st_size)
    assert len(found.out) < 5000


def test_text(sparkq: Command, model: Path) -> None:
    """What one wants to know, on a few lines."""
    found = sparkq("inspect", "--model", model)
    manifest = ModelArtifact.load(str(model)).manifest
    assert found.code == 0
    for text in (str(model), "DigitsNet", "32 x 32", "zero, one, two", "static", "64 images", manifest.payload_sha256):
        assert text in found.out
    assert len(found.out.splitlines()) < 20


def test_size_of_an_entropy_coded_file(sparkq: Command, model: Path, tmp_path: Path) -> None:
    """The file's own, and how it compares with the float model and with what it is after decoding."""
    artifact = ModelArtifact.load(str(model))
    config = replace(artifact.manifest.quantization, entropy_coding=False)
    path = tmp_path / "plain.sparkq"
    replace(artifact, manifest=replace(artifact.manifest, quantization=config)).save(str(path))
    size, floating = model.stat().st_size, artifact.manifest.float_bytes
    assert size < path.stat().st_size
    assert (
        f"size        {size / 1e6:.2f} MB (float {floating / 1e6:.2f} MB, {floating / size:.2f} times; "
        f"decoded {len(artifact.payload) / 1e6:.2f} MB, {len(artifact.payload) / size:.2f} times)\n"
    ) in sparkq("inspect", "--model", model).out
    assert "decoded" not in sparkq("inspect", "--model", path).out


def test_the_graph(sparkq: Command, model: Path) -> None:
    """The program, a node a line, below what else is said."""
    found = sparkq("inspect", "--model", model, "--graph")
    assert found.code == 0
    lines = found.out.splitlines()
    assert any(line.startswith("value ") and "MACs" in line for line in lines)
    assert any("conv2d" in line and "INT8" in line for line in lines)
    assert "million multiply-accumulates an image" in lines[-1]


def test_model_from_a_config_file(sparkq: Command, model: Path) -> None:
    """Relative to the file, as everywhere."""
    (model.parent / "c.yaml").write_text(yaml.safe_dump({"model": model.name}))
    assert sparkq("inspect", "--config", model.parent / "c.yaml").code == 0


def test_refused(sparkq: Command, tmp_path: Path) -> None:
    """A missing file, a folder, and no model at all."""
    sparkq("inspect", "--model", tmp_path / "absent.sparkq").assert_refused("absent.sparkq", "Hint: check the path")
    sparkq("inspect", "--model", tmp_path).assert_refused(str(tmp_path))
    sparkq("inspect").assert_refused("'model'")


def test_neither_torch_nor_spark_is_loaded(model: Path) -> None:
    """So that it answers at once, on any machine."""
    script = (
        "import sys; from sparkq.cli import main; code = main(['inspect', '--model', sys.argv[1]]); "
        "sys.exit(code or bool({'torch', 'pyspark'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script, model], capture_output=True, text=True, timeout=HANG_SECONDS)
    assert (done.returncode, done.stderr) == (0, "")
    assert "DigitsNet" in done.stdout
