"""``sparkq benchmark``: for real and small, and what is refused before anything is measured."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sparkq.engines.node import available_cores
from tests import ROOT
from tests.cli.conftest import TRACEBACK, Command, run_process

PRICES = ROOT / "conf" / "prices.yaml"
SMALL = ("--images", 24, "--cores", 2, "--rounds", 2, "--job-rounds", 1, "--seconds", 0.01, "--batch-size", 8)


@pytest.mark.jvm
def test_engines_jobs_cost_profile(
    console_script: str, environment: dict[str, str], model: Path, images: Path, tmp_path: Path,
) -> None:
    """Structure and counts; what is fast is not this test's matter. Pipeline and scale: see the spark-submit target."""
    arguments = (
        "benchmark", "--model", model, "--float-model", "sparkq.demo.digits:DigitsNet", "--input", images, *SMALL,
        "--parts", "engine,job,cost", "--batch-sizes", "1,8", "--engines", "fbgemm", "--prices", PRICES,
        "--plot", tmp_path / "plot.png", "--profile", tmp_path / "profile", "--output", tmp_path / "result.json",
    )
    # Four processes with a JVM each, one after the other: minutes on a machine that is busy with other things.
    done = run_process([console_script, *map(str, arguments)], environment, tmp_path, timeout_seconds=900)
    assert done.code == 0, done.err
    assert TRACEBACK not in done.err
    result = json.loads((tmp_path / "result.json").read_text(), parse_constant=pytest.fail)
    _check_result(result)
    for text in ("times float32 eager", "cold start", "marginal images/s", "USD a million"):
        assert text in done.out
    assert result["machine"]["node"] in done.out
    with Image.open(tmp_path / "plot.png") as picture:
        assert picture.format == "PNG" and min(picture.size) > 400
    _check_profile(tmp_path / "profile", result["profile"]["files"])


def _check_result(result: dict[str, Any]) -> None:
    assert result["machine"]["cores"] == available_cores() and result["machine"]["isa"]
    assert result["engine"] == "fbgemm" and result["model"]["input_size"] == [32, 32]
    assert [(row["engine"], row["batch_size"], row["error"]) for row in result["engines"]] == [
        (engine, size, None) for size in (1, 8) for engine in ("float32 eager", "fbgemm")
    ]
    assert [row["engine"] for row in result["cold_starts"]] == ["fbgemm"]
    assert all(row[name] > 0 for row in result["cold_starts"] for name in row if name != "engine")
    assert [(row["variant"], row["runs"], row["error"]) for row in result["jobs"]] == [
        ("sparkq", "fbgemm", None), ("sparkq_50ms_reads", "fbgemm", None), ("plain_loop", "fbgemm", None),
        ("mapInArrow", "openvino", None), ("predict_batch_udf", "float32 eager", None),
    ]
    for row in result["jobs"]:
        assert all(row[name]["rounds"] == 1 for name in ("start_seconds", "cold_seconds", "job_seconds"))
        assert row["start_seconds"]["median"] > 0 and row["job_seconds"]["median"] > 0
    assert len(result["costs"]["rows"]) % 5 == 0 and all(row["cost"] > 0 for row in result["costs"]["rows"])


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
