"""A new engine is one new file and one line of the registry: all that offers, checks, runs and compares engines follows."""
from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparkq.engines.registry import ENGINE_NAMES, fitting_engines
from sparkq.metrics.sqnr import sqnr_of
from sparkq.worker.predictor import Predictor
from tests import ROOT
from tests.models import digit_files, digits_artifact

MODULE = '''"""Engine ``qnnpack`` runs torch's INT8 kernels for mobile CPUs."""
from sparkq.engines.torch_graph.engine import load_packed


def load_qnnpack(payload, options):
    return load_packed(payload, "qnnpack", options)
'''
LINE = '    EngineSpec("qnnpack", "qnnpack:load_qnnpack", ("static", "mixed"), torch_backend=True),\n'
USERS = '''
import contextlib, io, json, sys
from pathlib import Path

import numpy as np
import pyarrow as pa

import sparkq
from sparkq.artifact.file import ModelArtifact
from sparkq.benchmark.engines import measure_engines
from sparkq.benchmark.subject import Subject
from sparkq.cli.benchmark import BenchmarkOptions
from sparkq.cli.completion import CHOICES
from sparkq.cli.doctor import DoctorOptions
from sparkq.cli.main import COMMANDS, main
from sparkq.config import InferenceConfig
from sparkq.errors import ConfigError, EngineError
from sparkq.spark.ml.stage_params import ImageStageParams
from sparkq.worker.engine_choice import choose_engine
from sparkq.worker.fitting import engine_for, engines_for
from sparkq.worker.node_report import examine_node
from sparkq.worker.predict import predict_partition
from sparkq.worker.predictor import Predictor

int8, floating = map(ModelArtifact.load, ("static.sparkq", "none.sparkq"))
pixels = np.load("pixels.npy")
contents = [path.read_bytes() for path in sorted(Path("images").iterdir())]

def told(kind, call):
    try:
        call()
    except kind as error:
        return str(error)

def help_of(name):
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
        main([name, "--help"])
    return " ".join(shown.getvalue().split())

predictor = Predictor(int8, engine="qnnpack", threads=1)
config = InferenceConfig(engine="qnnpack", batch_size=4)
rows = pa.Table.from_batches(predict_partition(
    iter([pa.record_batch({"content": contents})]), predictor=lambda: predictor, image_column="content", config=config,
))
BenchmarkOptions("m.sparkq", engine="qnnpack", engines="qnnpack,fbgemm")
DoctorOptions(model="m.sparkq", engine="qnnpack")
choice = choose_engine(int8, batch_size=4)
measured = measure_engines(
    Subject("digits", int8.manifest.preprocess, int8=int8, floating=floating), pixels, batch_sizes=(4,), engines=None, rounds=1,
    seconds=0.001,
)
print(json.dumps({
    "package": sparkq.__file__,
    "outputs": predictor.engine.run(pixels).tolist(),
    "rows": rows.select(["status", "engine"]).to_pylist(),
    "default": engine_for(int8),
    "fitting": engines_for(int8),
    "unknown": told(ConfigError, lambda: InferenceConfig(engine="cuda")),
    "unfit": told(EngineError, lambda: engine_for(floating, "qnnpack")),
    "auto": [*dict.fromkeys(one.engine for one in choice.measurements), *choice.refused],
    "doctor": examine_node(None).engines,
    "doctor_of_model": examine_node(int8).engines,
    "benchmark": [row.engine for row in measured if row.error is None],
    "completion": CHOICES["--engine"],
    "ml": ImageStageParams.engine.doc,
    "help": {name: help_of(name) for name in COMMANDS},
}))
'''


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What users of a sparkq with that file and that line see, in a Python of its own."""
    folder = tmp_path_factory.mktemp("with_new_engine")
    shutil.copytree(ROOT / "sparkq", folder / "sparkq", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "sparkq" / "engines" / "qnnpack.py").write_text(MODULE)
    registry = folder / "sparkq" / "engines" / "registry.py"
    head, end, tail = registry.read_text().partition(')\n"""Every engine')
    registry.write_text(f"{head}{LINE}{end}{tail}")
    for recipe in ("static", "none"):
        digits_artifact(recipe).save(str(folder / f"{recipe}.sparkq"))
    np.save(folder / "pixels.npy", _pixels())
    (folder / "images").mkdir()
    for number, content in enumerate(digit_files(6)):
        (folder / "images" / f"{number}.png").write_bytes(content)
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", USERS], cwd=folder, env=environment, capture_output=True, text=True, timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert Path(found["package"]).is_relative_to(folder)
    return found


def _pixels() -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)


def test_it_predicts(seen: dict[str, Any]) -> None:
    """With kernels of its own, near to the default engine's, and its rows name it."""
    ours, default = np.array(seen["outputs"], np.float32), Predictor(digits_artifact()).engine.run(_pixels())
    assert 25 < sqnr_of(default, ours) and not np.array_equal(default, ours)
    assert seen["rows"] == 6 * [{"status": "ok", "engine": "qnnpack"}]


def test_it_is_a_choice(seen: dict[str, Any]) -> None:
    """For config, ``auto`` and the shell, behind those before it: the default stays."""
    assert "qnnpack" not in ENGINE_NAMES
    assert (seen["default"], seen["fitting"]) == (fitting_engines("static")[0], [*fitting_engines("static"), "qnnpack"])
    assert set(seen["auto"]) == set(seen["fitting"])
    assert seen["completion"] == [*ENGINE_NAMES, "qnnpack", "auto"]


def test_messages_name_it(seen: dict[str, Any]) -> None:
    """Both the list of what there is, and what does not fit."""
    assert f"{', '.join(ENGINE_NAMES)}, qnnpack, auto; got 'cuda'" in seen["unknown"]
    assert "engine qnnpack: expected an engine for recipe 'none'" in seen["unfit"]


@pytest.mark.parametrize("command", ["predict", "evaluate", "plan", "doctor", "benchmark"])
def test_help_names_it(seen: dict[str, Any], command: str) -> None:
    """Among the engines that run INT8."""
    assert "openvino or qnnpack (INT8), float32 or bfloat16 (float artifacts)" in seen["help"][command]
    assert "openvino or qnnpack (INT8)" in seen["ml"]


def test_doctor_and_benchmark_run_it(seen: dict[str, Any]) -> None:
    """On every node, beside all others."""
    assert "qnnpack" in seen["doctor"] and "qnnpack" in seen["doctor_of_model"]
    assert {"fbgemm", "qnnpack", "float32"} <= set(seen["benchmark"])
