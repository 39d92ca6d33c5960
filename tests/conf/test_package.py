"""``make package``: what it builds runs elsewhere, with another interpreter, as EMR's step asks for it."""
from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pyspark
import pytest

from tests import HANG_SECONDS
from tests.conf.test_bootstrap import bootstrap
from tests.conf.test_emr import CONF, step_arguments
from tests.models import digit_files, digits_artifact
from tests.spark.local import local_row

pytestmark = pytest.mark.jvm
ROOT = CONF.parent
VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"


def _node_python() -> str:
    """The operating system's Python, where it has one of this version, as a node has; else the one below this environment."""
    theirs = Path("/usr/bin") / VERSION
    return str(theirs if theirs.exists() else Path(sys.base_prefix) / "bin" / VERSION)


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What the target makes."""
    dist = tmp_path_factory.mktemp("package") / "dist"
    command = ["make", "package", f"VENV={sys.prefix}", f"DIST={dist}", f"NODE_PYTHON={_node_python()}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    yield dist
    shutil.rmtree(dist)


@pytest.fixture(scope="module")
def environment(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Installed by the bootstrap action; refused with a wrong sum before, and left alone afterwards."""
    prefix = tmp_path_factory.mktemp("node") / "opt"
    uri, (right, _) = f"file://{dist}/environment.tar.gz", (dist / "environment.tar.gz.sha256").read_text().split()
    wrong = bootstrap(prefix, uri, right[::-1], node_python=_node_python())
    assert wrong.returncode == 1 and f"got {right}" in wrong.stderr and not prefix.exists()
    assert bootstrap(prefix, uri, right, node_python=_node_python()).returncode == 0
    found = {path: path.lstat().st_mtime_ns for path in prefix.rglob("*")}
    assert {path.name for path in prefix.iterdir()} == {"environment", f"environment-{right}"}
    # The second time it does not even read the archive.
    (dist / "environment.tar.gz").rename(dist / "shipped.tar.gz")
    assert bootstrap(prefix, uri, right, node_python=_node_python()).returncode == 0
    assert found == {path: path.lstat().st_mtime_ns for path in prefix.rglob("*")}
    yield prefix / "environment"
    shutil.rmtree(prefix)


def test_the_wheel_is_whole(dist: Path) -> None:
    """Every module and every file beside them but the pages for contributors; no tests, no jobs."""
    (wheel,) = dist.glob("*.whl")
    found = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    pages = {"__pycache__", ".md"}
    tracked = (path for path in (ROOT / "sparkq").rglob("*") if path.is_file() and not pages & {*path.parts, path.suffix})
    assert found == {str(path.relative_to(ROOT)) for path in tracked}


def test_the_archive_has_what_a_node_lacks(dist: Path, environment: Path) -> None:
    """No Spark, no tests, no trace of the place where it was built."""
    packages = environment / "lib" / VERSION / "site-packages"
    installed = {path.name.partition("-")[0].lower() for path in packages.glob("*.dist-info")}
    assert {"sparkq", "torch", "numpy", "pandas", "pillow", "pyarrow", "pyyaml", "safetensors"} <= installed
    assert installed.isdisjoint({"pyspark", "py4j", "pip", "pytest", "hypothesis", "moto", "mypy"})
    assert not list(packages.glob("nvidia*")) and not (packages / "pandas" / "tests").exists()
    assert {path.name for path in (environment / "bin").iterdir()} == {"python", "sparkq"}
    links = {os.readlink(path) for path in environment.rglob("*") if path.is_symlink()}
    assert {link for link in links if link.startswith("/")} == {_node_python()}
    texts = [path for path in environment.rglob("*") if path.suffix in {".cfg", ".json", ".txt", ".sh", ""} and path.is_file()]
    assert not [path for path in texts if str(dist.parent).encode() in path.read_bytes()]


def test_the_step_runs_in_it(environment: Path, tmp_path: Path) -> None:
    """The job of ``add_step.json``, with the settings of ``spark-defaults.conf``; nothing of ours is on its path."""
    artifact, files = digits_artifact(), digit_files(12)
    (tmp_path / "models").mkdir()
    (tmp_path / "photos").mkdir()
    artifact.save(str(tmp_path / "models" / "resnet50.sparkq"))
    for index, content in enumerate(files):
        (tmp_path / "photos" / f"{index}.png").write_bytes(content)
    shutil.copy(ROOT / "jobs" / "predict_images.py", tmp_path)
    _, job = step_arguments()
    python = str(environment / "bin" / "python")
    spark = Path(pyspark.__file__).parent
    clean = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "SPARK_HOME": str(spark), "SPARK_LOCAL_IP": "127.0.0.1"}
    # How Java is found and starts is this machine's matter.
    java = ("JAVA_HOME", "SPARK_SUBMIT_OPTS", "SPARK_LAUNCHER_OPTS")
    clean |= {"PYSPARK_PYTHON": python, **{key: os.environ[key] for key in java if key in os.environ}}
    submit = [spark / "bin" / "spark-submit", "--master", "local[2]", "--properties-file", CONF / "spark-defaults.conf"]
    submit += ["--conf", "spark.driver.memory=1g", "--conf", "spark.ui.enabled=false", tmp_path / "predict_images.py"]
    command = [str(part).replace("s3://BUCKET", str(tmp_path)) for part in [*submit, *job]]
    done = subprocess.run(command, cwd=tmp_path, env=clean, capture_output=True, text=True, timeout=HANG_SECONDS)
    assert done.returncode == 0, done.stderr[-3000:]
    document = json.loads(done.stdout)
    assert (document["run_id"], document["rows"], document["ok"]) == ("RUN_ID", 12, 12)
    assert (tmp_path / "predictions" / "_sparkq" / "RUN_ID.json").is_file()
    rows = {Path(row["path"]).name: row for row in pq.read_table(tmp_path / "predictions").to_pylist()}
    for index, content in enumerate(files):
        expected = local_row(artifact, content)
        assert (rows[f"{index}.png"]["label"], rows[f"{index}.png"]["score"]) == (expected["label"], expected["score"])


def test_its_command_runs(environment: Path, tmp_path: Path) -> None:
    """With a path of its own and nothing of this process."""
    command = [str(environment / "bin" / "sparkq"), "--help"]
    done = subprocess.run(command, env={"PATH": "/usr/bin:/bin"}, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "predict" in done.stdout, done.stderr
