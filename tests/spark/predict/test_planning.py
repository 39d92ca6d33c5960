"""Jobs are cut as planned, image bytes are not shuffled, and rows and results stay the same."""
from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import DataFrame, SparkSession

import sparkq
from sparkq.artifact.file import ModelArtifact
from sparkq.config import InferenceConfig
from sparkq.planning.partitions import ImageCost
from sparkq.spark.input.inventory import Inventory, take_inventory
from sparkq.spark.input.sources import FoundImages, find_images, read_images
from sparkq.spark.predict.planning import image_cost, job_row_groups, plan_job, planned_images, with_planned_partitions
from sparkq.spark.session.settings import session_settings
from tests.spark.local import by_path


def _table(path: Path, files: dict[str, bytes], *, rows: int, columns: tuple[str, ...] = ("path", "content")) -> str:
    # What stands behind an image's end is not read; images so long leave Parquet's footer small beside them.
    noise = np.random.default_rng(0).bytes(20_000)
    table = pa.table({"path": list(files), "content": [content + noise for content in files.values()]}).select(columns)
    pq.write_table(table, path, row_group_size=rows, use_dictionary=False, compression="none")
    return str(path)


def _sizes(df: DataFrame) -> list[int]:
    """Rows of each partition."""
    return df.rdd.mapPartitions(lambda rows: [sum(1 for _ in rows)]).collect()  # type: ignore[no-any-return]


def _cut(found: FoundImages, cost: ImageCost) -> list[int]:
    inventory, images = take_inventory(found, "images"), found.df
    plan = plan_job(images, inventory, cost, slots=2, groups=job_row_groups(images, inventory))
    with session_settings(images.sparkSession, plan.settings):
        planned = with_planned_partitions(images, images=inventory.images, cost=cost, slots=2)
        plan = planned._jdf.queryExecution().executedPlan().toString()
        assert "Exchange" not in plan or found.listing is not None or "content" not in planned.columns
        return _sizes(planned)


@pytest.mark.parametrize(("seconds", "glob", "images", "tasks"), [
    (0.001, None, 60, 4), (3.9, None, 60, 6), (30.0, "01*", 10, 8), (45.0, "01*", 10, 10),
])
def test_files_come_into_equal_tasks(
    spark: SparkSession, folder: Path, seconds: float, glob: str | None, images: int, tasks: int,
) -> None:
    """Spark itself makes two partitions of them; as many as images is the most."""
    sizes = _cut(find_images(spark, str(folder), glob=glob), ImageCost(seconds, 200))
    assert len(sizes) == tasks and sum(sizes) == images and max(sizes) <= images // tasks + 3


def test_listed_files_as_well(spark: SparkSession, folder: Path) -> None:
    """Without their content, which the workers would read."""
    found = find_images(spark, str(folder))
    sizes = _cut(replace(found, df=found.df.drop("content")), ImageCost(0.001, 200))
    assert len(sizes) == 4 and max(sizes) <= 17


def test_one_parquet_is_cut_at_its_row_groups(spark: SparkSession, files: dict[str, bytes], tmp_path: Path) -> None:
    """Spark itself would make one task."""
    table = read_images(spark, _table(tmp_path / "t.parquet", files, rows=5))
    sizes = _cut(FoundImages(table), ImageCost(0.001, 200))
    assert len(sizes) == 4 and sum(sizes) == 60 and min(sizes) >= 5


def test_one_row_group_is_warned_of(
    spark: SparkSession, files: dict[str, bytes], artifact: ModelArtifact, tmp_path: Path, caplog: pytest.LogCaptureFixture,
) -> None:
    table = read_images(spark, _table(tmp_path / "t.parquet", files, rows=60))
    with planned_images(table, take_inventory(FoundImages(table), "t"), artifact, config=InferenceConfig()) as planned:
        assert sorted(_sizes(planned))[-2:] == [0, 60]
    assert "1 row groups" in caplog.text


def test_a_large_row_group_is_read_in_small_batches(spark: SparkSession, tmp_path: Path) -> None:
    """Of images of 1 MB a batch of Parquet's reader has 16, whatever the session says; small ones keep Spark's 4096."""
    key = "spark.sql.parquet.columnarReaderBatchSize"
    for name, size, rows in (("large", 2**20, 15), ("small", 1000, 4096)):
        path = tmp_path / f"{name}.parquet"
        pq.write_table(pa.table({"content": [os.urandom(size) for _ in range(40)]}), path, use_dictionary=False)
        table = read_images(spark, str(path))
        inventory = take_inventory(FoundImages(table), name)
        groups = job_row_groups(table, inventory)
        plan = plan_job(table, inventory, ImageCost(0.001, inventory.mean_bytes or 0), slots=2, groups=groups)
        assert rows <= int(plan.settings[key]) <= rows + 1
        assert 0 <= plan.row_group_bytes - 40 * size < 0.1 * 40 * size
    before = spark.conf.get(key)
    with session_settings(spark, plan.settings):
        assert spark.conf.get(key) == plan.settings[key]
    assert spark.conf.get(key) == before


def test_uris_are_spread(spark: SparkSession, files: dict[str, bytes], tmp_path: Path) -> None:
    """There is nothing heavy in such rows."""
    path = _table(tmp_path / "t.parquet", files, rows=60, columns=("path",))
    sizes = _cut(FoundImages(spark.read.parquet(path)), ImageCost(1.0, 200))
    assert len(sizes) == 4 and max(sizes) <= 17


@pytest.mark.parametrize("adaptive", ["true", "false"])
def test_results_are_the_same(
    spark: SparkSession, artifact: ModelArtifact, files: dict[str, bytes], expected: dict[str, dict[str, Any]], adaptive: str,
    tmp_path: Path,
) -> None:
    """However it is cut, with and without adaptive execution, which must not join tasks either."""
    key = "spark.sql.execution.arrow.maxRecordsPerBatch"
    before = spark.conf.get(key, None)
    table = read_images(spark, _table(tmp_path / "t.parquet", files, rows=5))
    with session_settings(spark, {"spark.sql.adaptive.enabled": adaptive}):
        with planned_images(table, take_inventory(FoundImages(table), "t"), artifact, config=InferenceConfig()) as planned:
            predictions = sparkq.predict(planned, artifact)
            predictions.write.parquet(str(tmp_path / "out"))
    assert spark.conf.get(key, None) == before
    assert len(list((tmp_path / "out").glob("part-*"))) == 4
    assert by_path(spark.read.parquet(str(tmp_path / "out")).collect()) == expected


def test_the_cost_is_measured_where_it_matters(
    spark: SparkSession, artifact: ModelArtifact, falsified: ModelArtifact, folder: Path, caplog: pytest.LogCaptureFixture,
) -> None:
    """Not for a few images; on the driver for many; and a driver that cannot run the model plans for an ordinary one."""
    inventory = take_inventory(find_images(spark, str(folder)), "images")
    ordinary = image_cost(artifact, InferenceConfig(), (), inventory, slots=2, threads=1)
    assert (ordinary.inference_seconds, ordinary.mean_bytes) == (ImageCost().inference_seconds, inventory.mean_bytes)
    many = Inventory(10**6, 10**9, 2000, 10**6, are_files=True)
    measured = image_cost(artifact, InferenceConfig(), (), many, slots=2, threads=1)
    assert 0 < measured.inference_seconds < ordinary.inference_seconds and caplog.text == ""
    refused = image_cost(falsified, InferenceConfig(), (), many, slots=2, threads=1)
    assert refused.inference_seconds == ordinary.inference_seconds and "does not run on the driver" in caplog.text
