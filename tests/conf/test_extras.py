"""The extras of ``setup.cfg``: what the code asks for where it is missing is what ``pip install 'sparkq[EXTRA]'`` brings."""
from __future__ import annotations

import ast
import configparser
import json
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import onnx
import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from sparkq.engines.registry import engine_packages
from tests import HANG_SECONDS, ROOT
from tests.models import digits_artifact
from tests.onnx_files import write

SETTINGS = configparser.ConfigParser()
SETTINGS.read(ROOT / "setup.cfg", encoding="utf-8")
EXTRAS = set(SETTINGS["options.extras_require"]) - {"test"}
"""`test` is what this suite itself runs on."""

NOTEBOOK = json.loads((ROOT / "jobs" / "predict_images.ipynb").read_text(encoding="utf-8"))

USES = {
    "models": (
        "from sparkq.float_models.load import load_float_model; load_float_model('timm:resnet18')",
        "from sparkq.float_models.load import load_float_model; load_float_model('torchvision:squeezenet1_1')",
    ),
    "onnx": ("from sparkq.float_models.onnx import load_onnx; load_onnx('model.onnx')",),
    "openvino": ("from sparkq.worker.predictor import Predictor; Predictor(artifact, engine='openvino')",),
    "report": (
        "from sparkq.report.quantization.extra import check_report; check_report('report.html')",
        "from sparkq.report.quantization.figures import sensitivity_figure; sensitivity_figure([1.0], [False])",
    ),
    "benchmark": (
        "from sparkq.benchmark.plot import require_matplotlib; require_matplotlib()",
        "from sparkq.spark.benchmark.profiling import require_pyinstrument; require_pyinstrument()",
    ),
    "demo": (
        "from sparkq.demo.digits import load_digits; load_digits()",
        "from sparkq.benchmark.photos import write_photos; write_photos(Path('photos'), count=1)",
    ),
    "notebook": (
        "import ipykernel.kernelapp, ipywidgets, sklearn.datasets",
        *(
            line.strip() for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"
            for line in cell["source"] if re.match(r"(from|import) ", line)
        ),
    ),
    "connect": ("from pyspark.sql.connect.session import SparkSession",),
}
"""What each extra is for, statement by statement; `artifact` is a trained model, the folder has an ONNX file."""

TRY = """
import json, sys, traceback
from pathlib import Path
from sparkq.artifact.file import ModelArtifact
from sparkq.errors import SparkqError

artifact = ModelArtifact.load("digits.sparkq")
found = []
for statement in json.loads(sys.argv[1]):
    try:
        exec(statement)
        found.append({"error": None})
    except (ImportError, SparkqError) as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        found.append({"error": repr(error), "hint": getattr(error, "hint", None), "place": [place.filename, place.lineno]})
print(json.dumps(found))
"""


def _asking_places() -> dict[tuple[str, int], str]:
    """Module and line of every ``raise`` whose hint is to install an extra, and the extra."""
    places = {}
    for path in sorted((ROOT / "sparkq").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise) and (asked := re.search(r"pip install 'sparkq\[(\w+)\]'", ast.unparse(node))):
                places[str(path.relative_to(ROOT)), node.lineno] = asked.group(1)
    return places


def test_whoever_names_an_extra_names_one_that_exists() -> None:
    """``pip`` only warns of an extra that there is not. README and code name all that there are, so that none is forgotten."""
    texts = [path for folder in ("sparkq", "jobs", "conf", "docker", ".github") for path in (ROOT / folder).rglob("*")]
    readable = {".py", ".md", ".ipynb", ".sh", ".yaml", ".json", ""}
    told = {
        path: set(re.findall(r"(?:sparkq|\.)\[(\w+(?:,\w+)*)\]", path.read_text(encoding="utf-8")))
        for path in [*texts, ROOT / "README.md", ROOT / "Makefile"] if path.is_file() and path.suffix in readable
    }
    named = {path: {extra for text in found for extra in text.split(",")} for path, found in told.items() if found}
    assert {(str(path), extra) for path, extras in named.items() for extra in extras - EXTRAS - {"test"}} == set()
    assert named[ROOT / "README.md"] >= EXTRAS - {"demo"} and set(_asking_places().values()) <= EXTRAS
    assert USES.keys() == EXTRAS


def _base_distributions() -> dict[str, Any]:
    """What ``pip install sparkq`` alone brings, as it is installed here."""
    found: dict[str, Any] = {}
    wanted = [Requirement(line) for line in SETTINGS["options"]["install_requires"].splitlines() if line.strip("# ")
              and not line.startswith("#")]
    while wanted:
        requirement = wanted.pop()
        name = canonicalize_name(requirement.name)
        environment = {**default_environment(), "extra": ""}
        if name in found or not (requirement.marker is None or requirement.marker.evaluate(environment)):
            continue
        found[name] = distribution(requirement.name)
        wanted.extend(map(Requirement, found[name].requires or []))
    return found


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages: links to those of this environment that sparkq itself requires, and to nothing else."""
    base = tmp_path_factory.mktemp("base")
    for found in _base_distributions().values():
        for top in {file.parts[0] for file in found.files or []} - {"..", "__pycache__"}:
            link = base / top
            if not link.exists():
                link.symlink_to(Path(found.locate_file(top)))
    return base


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built of a copy: setuptools writes into the folder that it builds."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT / "sparkq", folder / "source" / "sparkq", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.cfg", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source")
    _run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, folder / "source", folder=folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the statements read."""
    folder = tmp_path_factory.mktemp("files")
    digits_artifact().save(str(folder / "digits.sparkq"))
    write(folder / "model.onnx", [onnx.helper.make_node("GlobalAveragePool", ["x"], ["y"])], {}, shape=(1, 3, 8, 8))
    return folder


def _run(*command: object, folder: Path) -> str:
    done = subprocess.run([str(part) for part in command], cwd=folder, capture_output=True, text=True, timeout=HANG_SECONDS)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


class Environment:
    """A virtual environment with what sparkq requires, and then with sparkq and an extra.

    Parameters
    ----------
    place : Path
        A folder to make.
    base : Path
        The packages that it starts with.
    """

    def __init__(self, place: Path, base: Path) -> None:
        venv.create(place, symlinks=True)
        self.python = place / "bin" / "python"
        (packages,) = place.glob("lib/*/site-packages")
        (packages / "base.pth").write_text(f"{base}\n")

    def install(self, what: str) -> None:
        """As the hints say, at the versions of ``conf/constraints.txt``."""
        pip = [sys.executable, "-m", "pip", "--python", self.python, "install", "--quiet", "--disable-pip-version-check"]
        _run(*pip, "--no-compile", "--constraint", ROOT / "conf" / "constraints.txt", what, folder=ROOT / "conf")

    def tried(self, statements: list[str], folder: Path) -> list[dict[str, Any]]:
        """What came of each."""
        found = json.loads(_run(self.python, "-c", TRY, json.dumps(statements), folder=folder).splitlines()[-1])
        assert isinstance(found, list)
        return found


@pytest.fixture(scope="module")
def without_extras(base: Path, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """After ``pip install sparkq``."""
    environment = Environment(tmp_path_factory.mktemp("without"), base)
    environment.install(str(wheel))
    return environment


@pytest.mark.registry
def test_without_an_extra_the_message_names_it(without_extras: Environment, folder: Path) -> None:
    """At every place that asks for one, reached here in an environment that has none."""
    statements = [(extra, statement) for extra, uses in USES.items() for statement in uses]
    reached = {}
    for (extra, statement), found in zip(
        statements, without_extras.tried([statement for _, statement in statements], folder), strict=True,
    ):
        if found["error"] is None:
            assert extra == "notebook", statement
        elif found["hint"] is not None:
            assert f"pip install 'sparkq[{extra}]'" in found["hint"], statement
            filename, line = found["place"]
            reached[filename[filename.index("sparkq/"):], line] = extra
        else:
            # Packages that sparkq's own modules do not import, or only after they have asked.
            assert extra in ("connect", "notebook", "report"), statement
    # Engines ask in one place, with the advice of their entry in the registry.
    engines = {place for place in reached if place[0] == "sparkq/engines/load.py"}
    assert {reached.pop(place) for place in engines} == {package for package in engine_packages() if package in EXTRAS}
    assert reached == _asking_places()


@pytest.fixture(params=sorted(EXTRAS))
def installed(request: pytest.FixtureRequest, base: Path, wheel: Path, tmp_path: Path) -> Iterator[tuple[str, Environment]]:
    """An extra, and an environment after ``pip install 'sparkq[EXTRA]'``."""
    environment = Environment(tmp_path / "environment", base)
    environment.install(f"{wheel}[{request.param}]")
    yield request.param, environment
    shutil.rmtree(tmp_path / "environment")


@pytest.mark.registry
def test_with_its_extra_everything_works(installed: tuple[str, Environment], folder: Path) -> None:
    """From the registry, at the tested versions, with nothing else that this environment has."""
    extra, environment = installed
    for statement, found in zip(USES[extra], environment.tried(list(USES[extra]), folder), strict=True):
        assert found["error"] is None, statement
