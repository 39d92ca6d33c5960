"""The driver's share of ``sparkq predict``: a heap for little more than a row group, and no torch."""
from __future__ import annotations

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.cli.conftest import run_process
from tests.models import digit_files

pytestmark = pytest.mark.jvm

ROWS = 200
STORED_BYTES = 2**20
"""Scans with what cameras append to a picture, a raw image or a film."""

PREDICTS = """
import sys
from sparkq.cli import main
code = main(sys.argv[1:])
print(*sys.modules)
sys.exit(code)
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """200 MiB in one row group."""
    contents = [content.ljust(STORED_BYTES, b"\xa5") for content in digit_files(ROWS)]
    names = [f"{index:03d}.png" for index in range(ROWS)]
    columns = pa.table({"path": names, "content": pa.array(contents, pa.binary())})
    path = tmp_path / "scans.parquet"
    pq.write_table(columns, path, row_group_size=ROWS, compression="none", use_dictionary=False)
    assert pq.ParquetFile(path).metadata.num_row_groups == 1
    return path


def test_a_large_row_group_in_a_small_heap(environment: dict[str, str], model: Path, table: Path, tmp_path: Path) -> None:
    """Spark's reader alone would hold all 200 MiB a second time, in vectors that double, and the JVM would die of it.

    A driver does not even import torch, which takes a second and 190 MB: it is for the workers.
    """
    small = environment | {"PYSPARK_SUBMIT_ARGS": "--driver-memory 512m pyspark-shell"}
    arguments = ["predict", "--model", model, "--input", table, "--output", tmp_path / "out", "--master", "local[1]"]
    done = run_process([sys.executable, "-c", PREDICTS, *map(str, arguments)], small, tmp_path)
    assert done.code == 0, done.err
    loaded = done.out.splitlines()[-1].split()
    assert "pyspark" in loaded and "torch" not in loaded
    assert pq.read_table(tmp_path / "out", columns=["status"]).column("status").to_pylist() == ["ok"] * ROWS
