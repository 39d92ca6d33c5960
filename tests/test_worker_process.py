"""What a Python worker costs: modules that it imports, and memory that it takes, in a process as Spark makes it."""
from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from models import noise

from sparkq.config import PreprocessConfig, QuantizationConfig
from sparkq.float_model import load_float_model
from sparkq.quantization import quantize

WORKER = """
import sys
import numpy as np
import sparkq.spark.inference
from sparkq.artifact import ModelArtifact
from sparkq.predictor_cache import PredictorKey, cached_predictor

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
    "scipy", "sklearn", "pandas", "sparkq.quantization", "sparkq.gate", "sparkq.float_model", "sparkq.cli",
    "sparkq.spark.session",
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


@pytest.mark.parametrize(
    ("engine", "megabytes"), [("fbgemm", 500), pytest.param("openvino", 600, marks=NO_OPENVINO)], ids=["fbgemm", "openvino"],
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
    assert {"torch", "pyarrow", "sparkq.partition", "sparkq.engine_choice"} <= set(modules)
    assert set(modules).isdisjoint(HEAVY)
    assert int(peak) / 1024 < megabytes
    assert "loaded model ResNet" in done.stderr and "first batch: 16 images" in done.stderr
