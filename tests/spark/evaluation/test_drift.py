"""`measure_drift` on Spark: a deterministic sample, one row of sums a partition, the same figures however it is split."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import sparkq
from sparkq.artifact.file import ModelArtifact
from sparkq.errors import ConfigError, EngineError, InputError
from sparkq.spark.evaluation import drift as spark_drift
from sparkq.spark.input.listing import is_listing
from sparkq.spark.input.sources import read_images
from tests.drifted_images import inverted
from tests.models import digit_files, digits, digits_artifact, digits_net, encoded
from tests.spark.conftest import IMAGES
from tests.spark.local import assert_clear

OTHERS = 120


@pytest.fixture(scope="module")
def inverted_df(spark: SparkSession) -> DataFrame:
    """Scans with black and white exchanged."""
    rows = [(f"{index}.png", bytearray(encoded(image))) for index, image in enumerate(inverted(digits()[1].images[:OTHERS]))]
    return spark.createDataFrame(rows, "path string, content binary")


def test_the_same_kind_of_images_is_no_drift(images_df: DataFrame, artifact: ModelArtifact) -> None:
    """All of them, however they are partitioned."""
    whole = sparkq.measure_drift(images_df.repartition(2), artifact, sample=1.0)
    assert (whole.images, whole.recalibrate, whole.reasons) == (IMAGES, False, ())
    assert sparkq.measure_drift(images_df.coalesce(1), artifact, sample=1.0) == whole


def test_inverted_images_are(inverted_df: DataFrame, artifact: ModelArtifact) -> None:
    drift = sparkq.measure_drift(inverted_df, artifact, sample=1.0)
    assert drift.images == OTHERS and drift.recalibrate is True
    assert drift.saturated and drift.saturated[0].now > 10 * drift.saturated[0].calibrated
    assert drift.label_psi is not None and drift.label_psi_limit is not None and drift.label_psi > drift.label_psi_limit


def test_the_sample_is_a_share_and_always_the_same(inverted_df: DataFrame, artifact: ModelArtifact) -> None:
    """Whatever the partitions; without a path it goes by content."""
    half = sparkq.measure_drift(inverted_df, artifact, sample=0.5)
    assert OTHERS * 0.3 < half.images < OTHERS * 0.7
    assert sparkq.measure_drift(inverted_df.repartition(2), artifact, sample=0.5) == half
    without = inverted_df.select("content")
    by_content = sparkq.measure_drift(without, artifact, sample=0.5)
    assert OTHERS * 0.3 < by_content.images < OTHERS * 0.7
    assert sparkq.measure_drift(without.repartition(2), artifact, sample=0.5) == by_content
    assert sparkq.measure_drift(inverted_df, artifact, sample=0).images == 0


def test_there_is_a_limit(inverted_df: DataFrame, artifact: ModelArtifact, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten million images are not sampled by the hundred thousand."""
    monkeypatch.setattr(spark_drift, "MAX_SAMPLED_IMAGES", 30)
    assert 10 < sparkq.measure_drift(inverted_df, artifact, sample=1.0).images < 60


def test_of_files_only_the_sampled_ones_are_opened(spark: SparkSession, artifact: ModelArtifact, tmp_path: Path) -> None:
    """Names that Spark would take for patterns included; one of zero bytes is no image."""
    for index, content in enumerate(digit_files(40)):
        (tmp_path / f"{index} [x].png").write_bytes(content)
    (tmp_path / "empty.png").touch()
    images = read_images(spark, str(tmp_path))
    assert is_listing(images) and images.count() == 41
    by_path = images.drop("content")
    opened = {row["path"] for row in spark_drift._sampled(by_path, "path", 0.5).collect()}
    assert 8 < len(opened) < 32
    readable = [path for path in opened if not path.endswith("empty.png")]
    assert sparkq.measure_drift(images, artifact, sample=0.5).images == len(readable)
    assert {row["path"] for row in spark_drift._sampled(by_path, "path", 0.25).collect()} < opened
    assert sparkq.measure_drift(images, artifact, sample=0).images == 0


def test_changed_rows_are_not_read_from_their_files(
    spark: SparkSession, artifact: ModelArtifact, folder: Path, inverted_df: DataFrame,
) -> None:
    """Somebody else's content beside a path is what counts."""
    files = read_images(spark, str(folder))
    for changed in (files.union(files), files.select("path", F.upper("path").alias("content")), inverted_df):
        assert not is_listing(changed)
    blank = files.selectExpr("path", "modificationTime", "length", "CAST('no image' AS binary) AS content")
    assert not is_listing(blank)
    assert sparkq.measure_drift(blank, artifact, sample=1.0).images == 0


@pytest.mark.parametrize("recipe", ["none", "static"])
def test_an_artifact_without_profile(images_df: DataFrame, recipe: str) -> None:
    """A float one, and one that saw too few images."""
    artifact = digits_artifact("none")
    if recipe == "static":
        names = [str(number) for number in range(10)]
        artifact = sparkq.quantize(
            digits_net(), calibration=digits()[0].images[:4], preprocess=artifact.manifest.preprocess, labels=names,
        )
    with pytest.raises(InputError) as caught:
        sparkq.measure_drift(images_df, artifact)
    assert_clear(caught.value, "at least 30 calibration images", "Hint: ")


@pytest.mark.parametrize("sample", [-0.1, 1.5, float("nan"), True, "all"])
def test_no_share(images_df: DataFrame, artifact: ModelArtifact, sample: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        sparkq.measure_drift(images_df, artifact, sample=sample)
    assert_clear(caught.value, "drift_sample", "0 to 1")


def test_a_wrong_machine_is_named(images_df: DataFrame, falsified: ModelArtifact) -> None:
    """As by `predict`."""
    with pytest.raises(EngineError) as caught:
        sparkq.measure_drift(images_df, falsified, sample=1.0)
    assert_clear(caught.value, "golden output")
