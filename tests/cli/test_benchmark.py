"""``sparkq benchmark``: for real and small, and what is refused before anything is measured."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.dataset
import pytest
from PIL import Image
from pyspark.sql import SparkSession
from safetensors.torch import save_file

from sparkq.benchmark.plain_loop import run_loops
from sparkq.engines.node import available_cores
from sparkq.spark.benchmark.job_process import JobRequest, JobTimes, run_job
from tests import ROOT
from tests.cli.conftest import TRACEBACK, Command, run_process
from tests.models import digits_net

PRICES = ROOT / "conf" / "prices.yaml"
SMALL = ("--images", 8, "--cores", 1, "--rounds", 2, "--job-rounds", 1, "--seconds", 0.01, "--batch-size", 8)
FLOAT_MODEL = ("--float-model", "sparkq.demo.digits:DigitsNet")


@pytest.mark.jvm
def test_engines_cost_profile(
    console_script: str, environment: dict[str, str], model: Path, images: Path, tmp_path: Path,
) -> None:
    """Structure and counts; what is fast is not this test's matter. Pipeline and scale: see the spark-submit target."""
    arguments = (
        "benchmark", "--model", model, *FLOAT_MODEL, "--input", images, *SMALL,
        "--parts", "engine,cost", "--batch-sizes", "1,8", "--engines", "fbgemm", "--prices", PRICES,
        "--plot", tmp_path / "plot.png", "--profile", tmp_path / "profile", "--output", tmp_path / "result.json",
    )
    done = run_process([console_script, *map(str, arguments)], environment, tmp_path)
    assert done.code == 0, done.err
    assert TRACEBACK not in done.err
    result = _strict_json((tmp_path / "result.json").read_text())
    assert result["machine"]["cores"] == available_cores() and result["machine"]["isa"]
    assert result["engine"] == "fbgemm" and result["model"]["input_size"] == [32, 32]
    assert [(row["engine"], row["batch_size"], row["error"]) for row in result["engines"]] == [
        (engine, size, None) for size in (1, 8) for engine in ("float32 eager", "fbgemm")
    ]
    assert [row["engine"] for row in result["cold_starts"]] == ["fbgemm"]
    assert all(row[name] > 0 for row in result["cold_starts"] for name in row if name != "engine")
    _check_costs(result, ["float32 eager, batch 1", "fbgemm, batch 1", "float32 eager, batch 8", "fbgemm, batch 8"])
    for text in ("times float32 eager", "cold start", "USD a million"):
        assert text in done.out
    assert result["machine"]["node"] in done.out
    _check_plot(tmp_path / "plot.png")
    _check_profile(tmp_path / "profile", result["profile"]["files"])


def test_jobs(
    spark: SparkSession, sparkq: Command, model: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every variant of the job runs, one row each, and says the same of the images.

    The variants run in the session of this test; `tests/benchmark/test_job.py` and the spark-submit target start processes.
    """
    labels: dict[str, dict[str, int]] = {}

    def in_session(request: JobRequest, place: Path) -> JobTimes:
        if request.variant == "plain_loop":
            return run_loops(request)
        times = run_job(request)
        labels[request.variant] = _labels(Path(request.output) / "2")
        return times

    monkeypatch.setattr("sparkq.benchmark.job.run_in_process", in_session)
    save_file(digits_net().state_dict(), tmp_path / "digits.safetensors")
    done = sparkq(
        "benchmark", "--model", model, *FLOAT_MODEL, "--weights", tmp_path / "digits.safetensors", "--input", images,
        *SMALL, "--engine", "fbgemm", "--parts", "job,cost", "--prices", PRICES, "--plot", tmp_path / "plot.png", "--json",
    )
    assert done.code == 0, done.err
    result = _strict_json(done.out)
    assert [(row["variant"], row["runs"], row["error"]) for row in result["jobs"]] == [
        ("sparkq", "fbgemm", None), ("sparkq_50ms_reads", "fbgemm", None), ("plain_loop", "fbgemm", None),
        ("mapInArrow", "openvino", None), ("predict_batch_udf", "float32 eager", None),
    ]
    for row in result["jobs"]:
        assert all(row[name]["rounds"] == 1 for name in ("start_seconds", "cold_seconds", "job_seconds"))
        assert row["start_seconds"]["median"] > 0 and row["job_seconds"]["median"] > 0
    _check_costs(result, [
        row["variant"] for row in result["jobs"]
        if row["images_per_second"] is not None and row["variant"] in ("sparkq", "mapInArrow", "predict_batch_udf")
    ])
    assert "marginal images/s" in result["table"]
    _check_plot(tmp_path / "plot.png")
    ours = labels["sparkq"]
    assert len(ours) == 16 and labels["sparkq_50ms_reads"] == ours
    for peer in ("mapInArrow", "predict_batch_udf"):
        assert labels[peer].keys() == ours.keys()
        assert sum(labels[peer][name] == label for name, label in ours.items()) >= 14


def _labels(folder: Path) -> dict[str, int]:
    """What a job said of each image, by the name of its file."""
    rows = pyarrow.dataset.dataset(folder, format="parquet").to_table().to_pylist()
    return {Path(row["path"]).name: row["label"] if "label" in row else row["prediction"]["label"] for row in rows}


def _strict_json(text: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(text, parse_constant=pytest.fail)
    return document


def _check_costs(result: dict[str, Any], runs: list[str]) -> None:
    """Each instance of the sample with each of `runs`; where a tiny job gave no speed, that of another part."""
    rows = result["costs"]["rows"]
    instances = dict.fromkeys(row["instance"] for row in rows)
    assert [(row["instance"], row["runs"]) for row in rows] == [(instance, name) for instance in instances for name in runs]
    assert all(row["cost"] > 0 for row in rows) and (len(instances) > 1 or not runs)


def _check_plot(path: Path) -> None:
    with Image.open(path) as picture:
        assert picture.format == "PNG" and min(picture.size) > 400


def _check_profile(folder: Path, names: list[str]) -> None:
    workers = {name.partition(".")[0] for name in names}
    assert workers and len(names) == 3 * len(workers) == len(list(folder.iterdir()))
    for worker in workers:
        trace = json.loads((folder / f"{worker}.trace.json").read_text())
        names = {event.get("name", "") for event in trace["traceEvents"]}
        assert "batch" in names and any(name.startswith("fbgemm, ") for name in names) and any("conv" in name for name in names)
        flame = json.loads((folder / f"{worker}.speedscope.json").read_text())
        assert any("predict_partition" in frame["name"] for frame in flame["shared"]["frames"])
        assert "<html" in (folder / f"{worker}.html").read_text()


def test_a_config_file(sparkq: Command, model: Path, images: Path) -> None:
    """An artifact's path is relative to the file, lists need no commas, options win; INT8 alone is its own baseline."""
    (model.parent / "benchmark.yaml").write_text(
        f"{{model: {model.name}, input: {images}, parts: [engine], engines: [fbgemm], batch_sizes: [2], batch_size: 2, "
        "rounds: 9, seconds: 0.001, output: result.json}"
    )
    done = sparkq("benchmark", "--config", model.parent / "benchmark.yaml", "--rounds", 1, "--json")
    assert done.code == 0, done.err
    document = done.document
    assert [(row["engine"], row["batch_size"], row["baseline"]) for row in document["engines"]] == [("fbgemm", 2, "fbgemm")]
    assert document["engines"][0]["ratio"] == {"median": 1, "low": 1, "high": 1, "rounds": 1}
    assert not {"jobs", "pipeline", "scale", "costs"} & set(document)
    document.pop("table")
    assert json.loads((model.parent / "result.json").read_text()) == document


@pytest.mark.parametrize(("arguments", "words"), [
    (("--parts", "engine,speed"), ("parts", "speed")),
    (("--engines", "tensorrt"), ("engines", "tensorrt")),
    (("--engine", "tensorrt"), ("engine", "tensorrt")),
    (("--batch-sizes", "1,0"), ("batch_sizes", "0")),
    (("--batch-sizes", "many"), ("batch_sizes", "many")),
    (("--rounds", "0"), ("rounds", "0")),
    (("--cores", "0"), ("cores", "0")),
    (("--seconds", "0"), ("seconds", "0")),
    (("--parts", "cost"), ("prices", "--prices")),
    (("--parts", "scale", "--plot", "x.png"), ("plot", "engine")),
    (("--input", "nowhere"), ("input nowhere", "images")),
], ids=lambda value: " ".join(value))
def test_wrong_options(arguments: tuple[str, ...], words: tuple[str, ...], sparkq: Command, model: Path) -> None:
    sparkq("benchmark", "--model", model, *arguments).assert_refused(*words)
