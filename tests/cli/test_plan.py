"""``sparkq plan``: a table or one JSON document, and no image opened."""
from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from tests.cli.conftest import IMAGES, Command


def test_document(spark: SparkSession, sparkq: Command, images: Path, model: Path) -> None:
    """What the job would take on this session, and what it would be submitted with."""
    found = sparkq("plan", "--model", model, "--input", images, "--json")
    assert found.code == 0, found.err
    document = found.document
    sizes = [path.stat().st_size for path in images.iterdir()]
    assert (document["images"], document["bytes"], document["largest_bytes"]) == (IMAGES, sum(sizes), max(sizes))
    assert (document["partitions"], document["images_per_task"], document["output_files"], document["slots"]) == (4, 10, 1, 2)
    worker, executor, submit = document["worker"], document["executor"], document["submit"]
    assert (worker["engine"], executor["executors"], executor["cores"], executor["workers"]) == ("fbgemm", 1, 2, 2)
    assert executor["total_mb"] * 2**20 > 2 * worker["resident_bytes"] > 2 * 64 * 2**20
    assert submit["spark.executor.memoryOverhead"] == f"{executor['overhead_mb']}m"
    assert document["seconds"] >= round(worker["start_seconds"], 1)
    assert any("too few images" in warning for warning in document["warnings"])


def test_no_image_is_opened(spark: SparkSession, sparkq: Command, model: Path, tmp_path: Path) -> None:
    """Files that nobody may read, and longer than Spark reads: it says so, and what else there is to say."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(9):
        path = folder / f"{number}.jpg"
        path.touch()
        os.truncate(path, 3 * 2**30)
        path.chmod(0)
    found = sparkq("plan", "--model", model, "--input", folder)
    assert found.code == 0, found.err
    for text in ("9, 28991.0 MB", "spark.executor.memory=", "beyond 2 GiB", "reading and decoding take about 100 %"):
        assert text in found.out


def test_a_parquet_of_one_row_group(spark: SparkSession, sparkq: Command, images: Path, model: Path, tmp_path: Path) -> None:
    """Its bytes are the file's; it is one task, whatever was planned, and that is said."""
    files = sorted(images.iterdir())
    pq.write_table(pa.table({"content": [path.read_bytes() for path in files]}), tmp_path / "images.parquet")
    document = sparkq("plan", "--model", model, "--input", tmp_path / "images.parquet", "--json").document
    assert (document["images"], document["bytes"]) == (IMAGES, (tmp_path / "images.parquet").stat().st_size)
    assert (document["partitions"], document["images_per_task"]) == (1, IMAGES)
    assert any("1 row groups" in warning for warning in document["warnings"])


def test_instances(spark: SparkSession, sparkq: Command, images: Path, model: Path) -> None:
    """Ten nodes that this session does not have; the artifact is of target vnni, which not every c5 can run."""
    arguments = ["plan", "--model", model, "--input", images, "--nodes", 10, "--json", "--instance"]
    document = sparkq(*arguments, "c5.18xlarge").document
    assert document["slots"] == document["executor"]["executors"] * document["executor"]["cores"] == 700
    assert document["partitions"] == IMAGES
    for words in (["too few images", "700 cores"], ["Cascade Lake", "target avx2"], ["this machine"]):
        assert any(all(word in warning for word in words) for warning in document["warnings"])
    assert not any("vnni" in warning for warning in sparkq(*arguments, "c6i.4xlarge").document["warnings"])


def test_options_of_the_job(spark: SparkSession, sparkq: Command, images: Path, model: Path) -> None:
    """What a job's limits do to it: a raised one takes memory, a low one leaves images unread, and that is said."""
    options = ([], ["--max-decode-bytes", 1_200_000_000], ["--max-image-bytes", 90])
    usual, raised, low = (sparkq("plan", "--model", model, "--input", images, "--json", *more).document for more in options)
    assert raised["executor"]["overhead_mb"] - usual["executor"]["overhead_mb"] >= 2 * 10**9 / 2**20 - 256
    assert any("more than max_image_bytes (90)" in warning for warning in low["warnings"])
    assert not any("max_image_bytes" in warning for warning in usual["warnings"])


def test_a_list_of_uris(spark: SparkSession, sparkq: Command, images: Path, model: Path, tmp_path: Path) -> None:
    """With its column, as for a job; which column is the job's to say only there."""
    uris = [str(path) for path in images.iterdir()]
    pq.write_table(pa.table({"photo": uris, "other": uris}), tmp_path / "list.parquet")
    arguments = ["plan", "--model", model, "--input", tmp_path / "list.parquet", "--input-format", "uri"]
    found = sparkq(*arguments, "--uri-column", "photo", "--json")
    assert (found.code, found.document["images"], found.document["bytes"]) == (0, IMAGES, None), found.err
    sparkq(*arguments).assert_refused("--uri-column", "photo")
    without_format = sparkq("plan", "--model", model, "--input", images, "--uri-column", "photo")
    without_format.assert_refused("uri_column", "--input-format uri")


@pytest.mark.parametrize(("arguments", "words"), [
    (["--instance", "c5.huge"], ["c5.huge", "18xlarge"]),
    (["--instance", "c7g.4xlarge", "--nodes", "10"], ["c7g.4xlarge", "x86-64", "Graviton3", "recipe none"]),
    (["--nodes", "3"], ["nodes", "--instance"]),
    (["--engine", "float32"], ["float32"]),
    (["--glob", "*.gif"], ["expected images", "none"]),
], ids=["instance", "graviton", "nodes", "engine", "no_images"])
def test_refused(spark: SparkSession, sparkq: Command, images: Path, model: Path, arguments: list[str], words: list[str]) -> None:
    """One sentence each."""
    sparkq("plan", "--model", model, "--input", images, *arguments).assert_refused(*words)
