"""Every code block of the README, run as it stands: only what a reader would replace is replaced, see `STAND_INS`."""
from __future__ import annotations

import configparser
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession, functions
from safetensors.torch import save_file

from tests import ROOT
from tests.java_start import clean_environment
from tests.models import digit_files, digits, digits_net
from tests.onnx_files import export

README = (ROOT / "README.md").read_text(encoding="utf-8")
STAND_INS = {
    "timm:resnet50": "model.py:resnet50", "s3://lake/sample": "{home}/photos", "s3://lake/": "{home}/", "s3://models/": "{home}/",
    "--preprocess-crop 224": "--preprocess-resize-mode squash --preprocess-resize-size 32",
}
"""A network that needs a minute less, files of this machine, the size of its images."""

FACTORY = """
from sparkq.demo.digits import DigitsNet


def resnet50():
    model = DigitsNet()
    # What timm says of its models.
    model.pretrained_cfg = {
        "input_size": (3, 32, 32), "crop_mode": "squash", "interpolation": "bilinear", "mean": (0.5,) * 3, "std": (0.25,) * 3,
    }
    return model
"""


@dataclass(frozen=True)
class Block:
    """A fenced block and the heading that it stands under."""

    heading: str
    number: int
    language: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.heading.lower().replace(' ', '_')}-{self.number}"


def _blocks() -> Iterator[Block]:
    heading, number = "", 0
    for found in re.finditer(r"^#+ ([^\n]+)$|^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL):
        if found.group(1):
            heading, number = found.group(1), 0
        else:
            number += 1
            yield Block(heading, number, found.group(2), found.group(3))


BLOCKS = {block.name: block for block in _blocks()}
MAKE = {name: block for name, block in BLOCKS.items() if block.heading == "sparkq"}
AIRFLOW = {name: block for name, block in BLOCKS.items() if block.heading == "On Airflow"}
"""`tests/airflow` runs it, where an Airflow is set up."""
EMR = {name: block for name, block in BLOCKS.items() if block.heading == "On EMR"}
SHELL = {name: block for name, block in BLOCKS.items() if block.language == "sh" and name not in MAKE | AIRFLOW | EMR}
PYTHON = {name: block for name, block in BLOCKS.items() if block.language == "python"}


def _with_stand_ins(text: str, home: Path) -> str:
    for theirs, ours in STAND_INS.items():
        text = text.replace(theirs, ours.format(home=home))
    return text


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reader's folder: photos with labels, a trained network and its weights, an ONNX file."""
    home = tmp_path_factory.mktemp("reader")
    (home / "photos").mkdir()
    labels = [f"{index}.png,{digits()[1].labels[index]}" for index in range(120)]
    for index, content in enumerate(digit_files(120)):
        (home / "photos" / f"{index}.png").write_bytes(content)
    (home / "labels.csv").write_text("\n".join(["path,label", *(f"photos/{line}" for line in labels)]) + "\n")
    (home / "model.py").write_text(FACTORY)
    save_file(digits_net().state_dict(), home / "resnet50.safetensors")
    export(digits_net(), home / "resnet50.onnx", 32, dynamo=False)
    return home


def test_every_block_is_run() -> None:
    assert BLOCKS and BLOCKS.keys() == MAKE.keys() | AIRFLOW.keys() | EMR.keys() | SHELL.keys() | PYTHON.keys()


def test_emr() -> None:
    """The commands are those of EMR's own page, which `tests/conf/test_emr.py` runs."""
    page = "".join(re.findall(r"^```sh\n(.*?)^```$", (ROOT / "conf" / "emr" / "README.md").read_text(), re.MULTILINE | re.DOTALL))
    (block,) = EMR.values()
    assert page.startswith(block.text)


@pytest.mark.parametrize("name", MAKE)
def test_make(name: str) -> None:
    """The targets are there, and make finds a way to them; `.ci/run` and `test_demo` go it."""
    for target in re.findall(r"^make (\w+)", MAKE[name].text, re.MULTILINE):
        done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0 and done.stdout, done.stderr


@pytest.mark.jvm
@pytest.mark.parametrize("name", SHELL)
def test_shell(name: str, home: Path) -> None:
    """In the README's order, in one folder: what one block writes a later one may read."""
    installs, commands = [], []
    for line in _with_stand_ins(SHELL[name].text, home).splitlines():
        (installs if line.startswith("pip install") else commands).append(line)
    for line in installs:
        _check_extras(line)
    environment = clean_environment() | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(commands)], cwd=home, env=environment, capture_output=True, text=True,
    )
    assert done.returncode == 0, done.stderr[-5000:]


def _check_extras(line: str) -> None:
    """It is installed here already; an extra that is not there would install nothing, with a warning."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    asked = re.search(r"\[(.+)\]", line)
    assert asked is not None and set(asked.group(1).split(",")) <= set(settings["options.extras_require"])


@pytest.fixture(scope="module")
def namespace(home: Path, spark: SparkSession) -> dict[str, Any]:
    """The reader's `spark`, `model` and `labelled` images; each block runs in what the earlier ones left."""
    found: dict[str, Any] = {}
    exec(FACTORY, found)
    model = found["resnet50"]()
    model.load_state_dict(digits_net().state_dict())
    truth = functions.regexp_extract("path", "(.)[.]png$", 1).cast("double").alias("truth")
    labelled = spark.read.format("binaryFile").load(str(home / "photos")).select("*", truth)
    return {"spark": spark, "model": model.eval(), "labelled": labelled}


@pytest.mark.parametrize("name", PYTHON)
def test_python(name: str, home: Path, namespace: dict[str, Any]) -> None:
    exec(compile(_with_stand_ins(PYTHON[name].text, home), f"README {name}", "exec"), namespace)
