"""``sparkq predict`` of a Parquet file that is one row group, nearly half as large as the JVM's heap."""
from __future__ import annotations

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


def test_it_fits_into_a_small_heap(
    console_script: str, environment: dict[str, str], model: Path, table: Path, tmp_path: Path,
) -> None:
    """Spark's reader alone would hold all 200 MiB a second time, in vectors that double, and the JVM would die of it."""
    small = environment | {"PYSPARK_SUBMIT_ARGS": "--driver-memory 512m pyspark-shell"}
    arguments = ["predict", "--model", model, "--input", table, "--output", tmp_path / "out", "--master", "local[1]"]
    done = run_process([console_script, *map(str, arguments)], small, tmp_path)
    assert done.code == 0, done.err
    assert pq.read_table(tmp_path / "out", columns=["status"]).column("status").to_pylist() == ["ok"] * ROWS
