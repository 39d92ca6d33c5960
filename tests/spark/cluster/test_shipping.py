"""An artifact is broadcast once, and a task carries only the reference."""
from __future__ import annotations

from dataclasses import replace

import pytest
from pyspark import cloudpickle
from pyspark.sql import DataFrame, SparkSession

import sparkq
from sparkq.artifact.file import ModelArtifact
from sparkq.errors import EngineError
from sparkq.spark.cluster.shipping import ship_model
from tests.spark.local import by_path


def _renamed(artifact: ModelArtifact, name: str) -> ModelArtifact:
    return replace(artifact, manifest=replace(artifact.manifest, name=name))


def test_broadcast_once_an_application(spark: SparkSession, artifact: ModelArtifact) -> None:
    """Asking again gives the same broadcast; another artifact gets its own, also if only its manifest differs."""
    first, again = ship_model(spark.sparkContext, artifact, None), ship_model(spark.sparkContext, artifact, "fbgemm")
    other = ship_model(spark.sparkContext, _renamed(artifact, "other"), None)
    assert first.sent is again.sent and first.key == again.key
    assert other.sent is not first.sent and other.key != first.key
    assert ModelArtifact.loads(first.sent.value).dumps() == artifact.dumps()


def test_tasks_do_not_carry_the_model(spark: SparkSession, artifact: ModelArtifact) -> None:
    """What every task's closure holds is a few hundred bytes, whatever the model weighs."""
    shipped = ship_model(spark.sparkContext, artifact, None)
    assert len(artifact.payload) > 20_000
    assert len(cloudpickle.dumps(shipped)) < 2_000


def test_a_worker_keeps_no_copy(spark: SparkSession, artifact: ModelArtifact) -> None:
    """Of the file's bytes, which pyspark would hold for as long as the worker lives; the artifact can be read again."""
    shipped = ship_model(spark.sparkContext, artifact, None)

    def read(rows: object) -> list[tuple[str, bool]]:
        return [(shipped.artifact().digest, "_value" in vars(shipped.sent)) for _ in range(2)]

    assert spark.sparkContext.parallelize([0], 1).mapPartitions(read).collect() == [(artifact.digest, False)] * 2


def test_lazy_predictions_survive_many_other_models(
    spark: SparkSession, images_df: DataFrame, artifact: ModelArtifact, expected: dict[str, dict[str, object]],
) -> None:
    """A broadcast that is no longer remembered is still there for who planned with it."""
    planned = sparkq.predict(images_df, artifact)
    for index in range(12):
        ship_model(spark.sparkContext, _renamed(artifact, f"other {index}"), None)
    assert by_path(planned.collect()) == expected


def test_one_thread_a_worker(spark: SparkSession, artifact: ModelArtifact, files: dict[str, bytes]) -> None:
    """torch computes with as many threads as a task has cores (``spark.task.cpus``), which is one."""
    predicted = sparkq.predict_rdd(spark.sparkContext.parallelize(list(files.items()), 4), artifact)

    def threads(rows: object) -> list[int]:
        import torch

        return [torch.get_num_threads() for _ in rows]  # type: ignore[attr-defined]

    found = predicted.mapPartitions(threads).collect()
    assert found == [1] * len(files)


@pytest.mark.parametrize("engine", ["float32"])
def test_engine_must_fit_the_recipe(spark: SparkSession, artifact: ModelArtifact, engine: str) -> None:
    """On the driver, before a broadcast."""
    with pytest.raises(EngineError):
        ship_model(spark.sparkContext, artifact, engine)
