"""Fixtures that many tests share: real images, real trained weights, one Spark session."""
from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from tests import ROOT
from tests.java_start import start_java_fast

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

if "PYTEST_XDIST_WORKER" in os.environ:
    # One of two processes on two cores.
    torch.set_num_threads(1)

SHARED_DATA = ROOT.parent / "shared" / "data"
HAD_JVM = pytest.StashKey[bool]()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Before the processes that run tests are started: they inherit it."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        start_java_fast(session.config.cache.mkdir("java"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests without a JVM first: they fail within seconds. Then those with one of their own, the longest."""
    def place(item: pytest.Item) -> int:
        return 1 if {"jvm", "registry"} & marks(item) else 2 * ("spark" in marks(item))

    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if "spark" in fixtures:
            item.add_marker("spark")
        if "shared_data" not in fixtures and not marks(item) & {"jvm", "spark", "s3a", "airflow", "registry"}:
            item.add_marker("smoke")
        if torch.version.cuda is not None and "memory" in marks(item):
            item.add_marker(pytest.mark.skip(reason="torch's builds for CUDA alone take more memory than is allowed here"))
    items.sort(key=place)


def marks(item: pytest.Item) -> set[str]:
    """Names of its markers, its module's too."""
    return {mark.name for mark in item.iter_markers()}


def _has_jvm() -> bool:
    pyspark = sys.modules.get("pyspark")
    return pyspark is not None and pyspark.SparkContext._gateway is not None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Models that a test or its fixtures make have the same random weights in every run."""
    torch.manual_seed(0)
    item.stash[HAD_JVM] = _has_jvm()


def pytest_runtest_teardown(item: pytest.Item) -> None:
    """A test with a JVM says so, or those without one would be slow, and would not run where there is no Java."""
    assert item.stash[HAD_JVM] or not _has_jvm() or marks(item) & {"jvm", "spark"}, "This test starts a JVM. Hint: mark it."


@pytest.fixture(scope="session", autouse=True)
def node_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What workers compile goes here, not into the user's cache."""
    directory = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARKQ_CACHE_DIR", str(directory))
        yield directory


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real images and real trained models; they are not part of the project, and not on every machine."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real data is not at {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    """A classic session on two local cores."""
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    session = (
        SparkSession.builder.master("local[2]").appName("sparkq tests")
        .config("spark.driver.host", "127.0.0.1").config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.ui.enabled", "false").config("spark.sql.shuffle.partitions", "2")
        .config("spark.ui.showConsoleProgress", "false")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()
