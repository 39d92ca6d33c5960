"""What a Python worker costs: modules that it imports, and memory that it takes, in a process as Spark makes it."""
from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageFilter

from sparkq.config import PreprocessConfig, QuantizationConfig
from sparkq.float_models.load import load_float_model
from sparkq.quantization import quantize
from tests.models import encoded, noise

WORKER = """
import sys
import numpy as np
import sparkq.spark.predict.inference
from sparkq.artifact.file import ModelArtifact
from sparkq.worker.predictor_cache import PredictorKey, cached_predictor

path, engine = sys.argv[1:]
predictor = cached_predictor(PredictorKey("model", engine, 1), lambda: ModelArtifact.load(path))
images = np.random.default_rng(0).integers(0, 256, (16, *predictor.manifest.input_size, 3), dtype=np.uint8)
for _ in range(4):
    predictor.run_rows(images, batch_size=16)
# Not getrusage: a process inherits its parent's peak over fork and exec.
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]
print(peak, *sys.modules)
"""
# What torch itself imports is out of reach: parts of torch.distributed, torch.fx and torch.ao.
HEAVY = (
    "torch._dynamo", "torch._inductor", "torch.ao.quantization.quantize_fx", "torch.onnx", "torchvision", "timm", "onnx", "sympy",
    "scipy", "sklearn", "pandas", "sparkq.quantization", "sparkq.quantization.gate", "sparkq.float_models.load", "sparkq.cli",
    "sparkq.spark.session.session",
)
NO_OPENVINO = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")


@pytest.fixture(scope="module")
def resnet50(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ResNet-50 with random weights, static INT8."""
    with pytest.warns(UserWarning, match="random"):
        model = load_float_model("torchvision:resnet50")
    config = QuantizationConfig(
        observer="min_max", equalization=False, rounding="nearest", bias_correction=False, weight_scales="max",
    )
    artifact = quantize(model, calibration=noise(1, size=224), preprocess=PreprocessConfig(crop=224), config=config)
    path = tmp_path_factory.mktemp("resnet50") / "model.sparkq"
    artifact.save(str(path))
    return path


@pytest.mark.memory
@pytest.mark.parametrize(
    ("engine", "megabytes"), [("fbgemm", 500), pytest.param("openvino", 260, marks=NO_OPENVINO)], ids=["fbgemm", "openvino"],
)
def test_resnet50_in_a_worker(resnet50: Path, engine: str, megabytes: int) -> None:
    """Nothing heavy is imported that is not needed, and the peak of loading and of batches of 16 stays small, torch and all.

    OpenVINO compiles here, as the first worker of a node does; the others take less.
    """
    done = subprocess.run(
        [sys.executable, "-c", WORKER, resnet50, engine], capture_output=True, text=True, timeout=300, check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    peak, *modules = done.stdout.split()
    assert {"pyarrow", "sparkq.worker.predict", "sparkq.worker.engine_choice"} <= set(modules)
    assert ("torch" in modules) == (engine == "fbgemm")
    assert set(modules).isdisjoint(HEAVY)
    assert int(peak) / 1024 < megabytes
    assert "loaded model ResNet" in done.stderr and "first batch: 16 images" in done.stderr


HUGE_AMONG_SMALL = """
import sys
from pathlib import Path
import pyarrow as pa
import torch
import sparkq.spark.predict.inference
from sparkq.artifact.file import ModelArtifact
from sparkq.config import InferenceConfig
from sparkq.worker.predict import predict_partition
from sparkq.worker.predictor_cache import PredictorKey, cached_predictor

model, folder = sys.argv[1:]
predictor = lambda: cached_predictor(PredictorKey("model", "fbgemm", 1), lambda: ModelArtifact.load(model))
paths = sorted(map(str, Path(folder).iterdir()))

def one_by_one():
    for path in paths:
        yield pa.record_batch({"path": [path], "content": [Path(path).read_bytes()]})

by_uri = InferenceConfig(uri_column="path")
for batches, column, config in (
    (iter([pa.record_batch({"path": paths})]), "path", by_uri), (one_by_one(), "content", InferenceConfig()),
):
    for batch in predict_partition(batches, predictor=predictor, image_column=column, config=config):
        for row in batch.to_pylist():
            print(row["path"].rpartition("/")[2], row["error_code"], row["label"])
print(torch.get_num_threads(), torch.get_num_interop_threads())
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


@pytest.fixture(scope="module")
def huge_among_small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 small images, and three of 100 megapixels: a JPEG, a progressive one, a PNG."""
    folder = tmp_path_factory.mktemp("images")
    for number, pixels in enumerate(noise(48, size=64)):
        (folder / f"{number:02d}.png").write_bytes(encoded(pixels))
    huge = Image.new("RGB", (10_000, 10_000))
    tile = Image.fromarray(noise(1, size=1000)[0]).resize((1000, 1000)).filter(ImageFilter.GaussianBlur(2))
    for number in range(100):
        huge.paste(tile, (number % 10 * 1000, number // 10 * 1000))
    huge.save(folder / "20 huge.jpg", quality=90)
    huge.save(folder / "30 progressive.jpg", quality=90, progressive=True)
    Image.new("RGB", (10_000, 10_000)).save(folder / "40 huge.png", compress_level=1)
    return folder


@pytest.mark.memory
def test_a_huge_image_among_small_ones(resnet50: Path, huge_among_small: Path) -> None:
    """ResNet-50 at batch 16 stays below 700 MB, whoever reads; what cannot be decoded so is a row."""
    done = subprocess.run(
        [sys.executable, "-c", HUGE_AMONG_SMALL, resnet50, huge_among_small], capture_output=True, text=True, timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    *rows, threads, peak = done.stdout.splitlines()
    assert threads == "1 1"
    found = [tuple(line.rsplit(" ", 2)) for line in rows]
    assert found[:51] == found[51:]
    errors = {name: code for name, code, _ in found if code != "None"}
    assert errors == {"30 progressive.jpg": "image_too_large", "40 huge.png": "image_too_large"}
    assert int(peak) / 1024 < 700
