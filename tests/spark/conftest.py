"""Digits as a DataFrame and as files, and what the local predictor says of them."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from sparkq.artifact.file import ModelArtifact
from tests.models import digit_files, digits_artifact
from tests.spark.local import falsified_golden, local_row

IMAGES = 60


@pytest.fixture(scope="session")
def artifact() -> ModelArtifact:
    """A trained INT8 model with class names."""
    return digits_artifact()


@pytest.fixture(scope="session")
def files() -> dict[str, bytes]:
    """Real scans, encoded, by name."""
    return {f"{index:03d}.png": content for index, content in enumerate(digit_files(IMAGES))}


@pytest.fixture(scope="session")
def folder(files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scans as files; tests only read here."""
    folder = tmp_path_factory.mktemp("digits")
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="session")
def images_df(spark: SparkSession, files: dict[str, bytes]) -> DataFrame:
    """``path`` and ``content``, as a table would hold them."""
    rows = [(name, bytearray(content)) for name, content in files.items()]
    return spark.createDataFrame(rows, "path string, content binary")


@pytest.fixture(scope="session")
def expected(artifact: ModelArtifact, files: dict[str, bytes]) -> dict[str, dict[str, Any]]:
    """Path to the columns that its row must have."""
    return {name: local_row(artifact, content) for name, content in files.items()}


@pytest.fixture(scope="session")
def falsified(artifact: ModelArtifact) -> ModelArtifact:
    """An artifact whose golden output no right machine computes: its worker must refuse it."""
    return falsified_golden(artifact)
