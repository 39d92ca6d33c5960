"""The run manifest: whole, beside the output, and in nobody's way."""
from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from sparkq.errors import InputError
from sparkq.spark.runs import new_run_id, write_run
from sparkq.spark.sources import read_images

from .local import assert_clear


def test_it_is_one_whole_file_that_readers_of_the_output_do_not_see(spark: SparkSession, tmp_path: Path) -> None:
    """Neither Spark nor pyarrow nor our own reader; a second run stands beside the first."""
    output = tmp_path / "out put"
    spark.sql("SELECT 1 AS label, CAST('bytes' AS binary) AS content").write.parquet(str(output))
    before = {path.name for path in output.iterdir()}
    runs = {"first": {"rows": 1, "model": "Zürich"}, "second": {"rows": 2, "drift": None}}
    for run_id, run in runs.items():
        write_run(spark, str(output), run_id, run)
    assert {path.name for path in output.iterdir()} == {*before, "_sparkq"}
    written = {path.stem: json.loads(path.read_text("utf-8")) for path in (output / "_sparkq").glob("[!.]*")}
    assert written == runs
    assert not list((output / "_sparkq").rglob("*.tmp"))
    assert spark.read.parquet(str(output)).count() == 1
    assert pq.read_table(output).num_rows == 1
    assert read_images(spark, str(output)).columns == ["label", "content"]


def test_a_place_that_takes_none(spark: SparkSession, tmp_path: Path) -> None:
    """The predictions are there, and the message says so."""
    (tmp_path / "_sparkq").write_text("a file where the folder should be")
    with pytest.raises(InputError) as caught:
        write_run(spark, str(tmp_path), "id", {})
    assert_clear(caught.value, "run manifest", "_sparkq", "Hint: the predictions themselves are complete")


def test_run_ids_sort_by_time_and_differ() -> None:
    identities = [new_run_id() for _ in range(50)]
    assert len(set(identities)) == 50
    assert all(re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{8}", identity) for identity in identities)
    assert [identity[:16] for identity in identities] == sorted(identity[:16] for identity in identities)
