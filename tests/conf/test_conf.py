"""``conf/``: the sample configs are what the commands take, and the Java check says what to do."""
from __future__ import annotations

import argparse
import os
import re
import subprocess
from pathlib import Path

import pytest

from sparkq.benchmark.prices import read_prices
from sparkq.cli.benchmark import BenchmarkOptions
from sparkq.cli.evaluate import EvaluateOptions
from sparkq.cli.options import add_options, options_from
from sparkq.cli.predict import PredictOptions
from sparkq.cli.quantize import QuantizeOptions
from tests import ROOT

CONF = ROOT / "conf"
SAMPLES = {
    "quantize_model": QuantizeOptions, "predict_images": PredictOptions, "evaluate_model": EvaluateOptions,
    "benchmark": BenchmarkOptions,
}


@pytest.mark.parametrize(("name", "kind"), SAMPLES.items(), ids=list(SAMPLES))
def test_a_sample_is_named_as_its_job_and_taken_by_its_command(name: str, kind: type) -> None:
    """Every key known, every value right, paths beside the file."""
    parser = argparse.ArgumentParser()
    add_options(parser, kind)
    options = options_from(kind, parser.parse_args(["--config", str(CONF / f"{name}.yaml")]))
    assert options.output.startswith(str(CONF)) if hasattr(options, "output") else options.labels.startswith(str(CONF))
    assert (ROOT / "jobs" / f"{name}.py").is_file()


def test_every_sample_has_a_test() -> None:
    assert {path.stem for path in CONF.glob("*.yaml")} == set(SAMPLES) | {"prices"}


def test_the_sample_of_prices_is_read() -> None:
    """For each family that the benchmark's users ask for, marked as an example."""
    prices = read_prices(str(CONF / "prices.yaml"))
    assert {name.partition(".")[0] for name in prices.instances} == {"c5", "c6i", "c7i", "c7g"}
    assert "example" in prices.source


def test_every_dependency_is_pinned_once() -> None:
    """What pip may choose freely differs from machine to machine."""
    pins = [re.split(r"==| ;", line)[0].lower() for line in _lines(CONF / "constraints.txt")]
    assert len(pins) == len(set(pins))
    setup = (ROOT / "setup.cfg").read_text()
    required = setup[setup.index("install_requires"):setup.index("[flake8]")]
    names = re.findall(r"^    ([A-Za-z0-9_-]+)(?:\[\w+\])?(?:>=[\d.,<]+)?$", required, re.M)
    assert len(names) > 15 and [name for name in names if name.lower() not in pins] == []


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]


@pytest.mark.parametrize(("version", "code"), [
    ('openjdk version "17.0.15" 2025-04-15', 0), ('openjdk version "21" 2023-09-19', 0),
    ('openjdk version "11.0.2" 2019-01-15', 1), ('java version "1.8.0_402"', 1), ("nonsense", 1), (None, 1),
])
def test_java_check(version: str | None, code: int, tmp_path: Path) -> None:
    """Too old, unreadable and missing ones get one sentence and how to install it."""
    if version is not None:
        java = tmp_path / "java"
        java.write_text(f"#!/bin/sh\necho '{version}' >&2\n")
        java.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin" if version else str(tmp_path), "HOME": os.environ.get("HOME", "/")}
    done = subprocess.run(["/bin/sh", str(CONF / "check_java.sh")], env=environment, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert ("apt-get install openjdk-17" in done.stderr) == (code != 0)
