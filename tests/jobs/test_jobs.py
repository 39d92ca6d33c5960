"""``jobs/``: the spark-submit targets, through the real ``spark-submit``."""
from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pyspark
import pytest
import yaml
from safetensors.torch import save_file

from tests import HANG_SECONDS, ROOT
from tests.java_start import clean_environment
from tests.models import digit_files, digits, digits_artifact, digits_net

pytestmark = pytest.mark.jvm
JOBS = ROOT / "jobs"
SUBMIT = Path(pyspark.__file__).parent / "bin" / "spark-submit"
IMAGES = 60


def _submit(job: str, *arguments: object, folder: Path, cores: int = 1) -> dict[str, Any]:
    """Run a job to its end; it prints one JSON document on standard output and nothing else.

    Each core has Python workers of its own, which take longer to start than to compute.
    """
    environment = clean_environment()
    environment |= {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    command = [SUBMIT, "--master", f"local[{cores}]", "--conf", "spark.ui.enabled=false", JOBS / job, *arguments, "--json"]
    done = subprocess.run(
        [str(part) for part in command], env=environment, cwd=folder, capture_output=True, text=True, timeout=HANG_SECONDS,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    document = json.loads(done.stdout)
    assert isinstance(document, dict)
    return document


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with scans of all classes, their labels, and a config file for each job, paths relative to it."""
    job = tmp_path_factory.mktemp("jobs")
    (job / "images").mkdir()
    lines = ["path,label"]
    for index, content in enumerate(digit_files(IMAGES)):
        (job / "images" / f"{index}.png").write_bytes(content)
        lines.append(f"images/{index}.png,{digits()[1].labels[index]}")
    (job / "labels.csv").write_text("\n".join(lines) + "\n")
    (job / "classes.txt").write_text("\n".join(f"digit {number}" for number in range(10)) + "\n")
    save_file(digits_net().state_dict(), job / "digits.safetensors")
    float_model = {"weights": "digits.safetensors"}
    factory = "sparkq.demo.digits:DigitsNet"
    configs: dict[str, dict[str, object]] = {
        "quantize": {
            "model": factory, **float_model, "task": "classification", "labels": "classes.txt", "output": "digits.sparkq",
            "preprocess": {"resize": {"mode": "squash", "size": 32}, "mean": 0.5, "std": 0.25},
            "calibration": {"input": "images", "images": 32}, "min_agreement": 0.8,
            # This recipe logs what it tries: Spark must not mix that into the JSON document.
            "quantization": {"recipe": "mixed", "minimum_sqnr_db": 52},
        },
        "predict": {"model": "digits.sparkq", "input": "images", "output": "predictions", "engine": "fbgemm", "top_k": 3},
        "evaluate": {
            "model": "digits.sparkq", "input": "images", "labels": "labels.csv", "float_model": factory, **float_model,
        },
    }
    for name, content in configs.items():
        (job / f"{name}.yaml").write_text(yaml.safe_dump(content))
    return job


def test_quantize_predict_evaluate(job: Path) -> None:
    """What one job writes the next one reads; the same model runs in all three, and it is a good one."""
    elsewhere = job / "elsewhere"
    elsewhere.mkdir()
    quantized = _submit("quantize_model.py", "--config", job / "quantize.yaml", folder=elsewhere)
    assert quantized["calibration_images"] == 25
    predicted = _submit("predict_images.py", "--config", job / "predict.yaml", "--top-k", "2", folder=elsewhere, cores=2)
    assert (predicted["rows"], predicted["ok"], predicted["errors"]) == (IMAGES, IMAGES, 0)
    evaluated = _submit("evaluate_model.py", "--config", job / "evaluate.yaml", folder=elsewhere)
    assert quantized["model_digest"] == predicted["model_digest"] == evaluated["model_digest"]
    rows = pq.read_table(job / "predictions").to_pylist()
    assert {len(row["top_k"]) for row in rows} == {2}
    truth = dict(line.split(",") for line in (job / "labels.csv").read_text().splitlines()[1:])
    classes = (job / "classes.txt").read_text().splitlines()
    right = sum(row["label"] == int(truth[f"images/{Path(row['path']).name}"]) for row in rows)
    assert all(row["label_name"] == classes[row["label"]] for row in rows)
    assert evaluated["images"] == IMAGES
    assert evaluated["top1"] == pytest.approx(100 * right / IMAGES)
    assert evaluated["float_top1"] > 70 and evaluated["agreement"] > 80
    assert list(elsewhere.iterdir()) == []


def test_benchmark(tmp_path: Path) -> None:
    """Under spark-submit, whose JVM this process talks to, the jobs that it times have JVMs of their own."""
    artifact = digits_artifact()
    artifact.save(str(tmp_path / "digits.sparkq"))
    (tmp_path / "images").mkdir()
    for index, content in enumerate(digit_files(16)):
        (tmp_path / "images" / f"{index}.png").write_bytes(content)
    (tmp_path / "benchmark.yaml").write_text(yaml.safe_dump({
        "model": "digits.sparkq", "input": "images", "parts": ["pipeline", "scale"], "engine": "fbgemm", "cores": 1, "images": 16,
        "job_rounds": 1,
    }))
    result = _submit("benchmark.py", "--config", tmp_path / "benchmark.yaml", folder=tmp_path)
    assert [row["stage"] for row in result["pipeline"]] == ["decode", "preprocess", "inference", "spark"]
    assert [(row["cores"], row["images"]) for row in result["scale"]] == [(1, [2, 16, 32, 64])]
    assert all(seconds["rounds"] == 1 and seconds["median"] > 0 for row in result["scale"] for seconds in row["seconds"])
    assert result["model"]["int8_digest"] == artifact.digest
