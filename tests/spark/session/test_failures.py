"""What a Python worker raises comes back to the driver as the exception that it was."""
from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession

import sparkq
from sparkq.artifact.file import ModelArtifact
from sparkq.errors import EngineError, InputError
from sparkq.spark.evaluation.evaluate import evaluate
from sparkq.spark.session.failures import expected_failure, machine_failure
from sparkq.worker.predictor import Predictor
from tests.spark.local import assert_clear


@pytest.fixture(scope="module")
def local_failure(falsified: ModelArtifact) -> EngineError:
    """What the same artifact raises without Spark."""
    with pytest.raises(EngineError) as caught:
        Predictor(falsified)
    return caught.value


def test_falsified_artifact_is_an_engine_error(local_failure: EngineError) -> None:
    """The sentence names the engine, the machine, the artifact, what was expected and what to do."""
    assert_clear(local_failure, "engine fbgemm", "golden output", "25 dB")
    assert local_failure.hint


def test_failure_in_a_dataframe_job(images_df: DataFrame, falsified: ModelArtifact, local_failure: EngineError) -> None:
    """Type, message and hint, out of pages of Java."""
    with pytest.raises(Exception) as caught:
        sparkq.predict(images_df, falsified).collect()
    found = expected_failure(caught.value)
    assert type(found) is EngineError
    assert (found.message, found.hint) == (local_failure.message, local_failure.hint)


def test_failure_in_an_rdd_job(spark: SparkSession, artifact: ModelArtifact) -> None:
    """A value that is neither bytes nor None is no image row but a wrong RDD."""
    pairs = spark.sparkContext.parallelize([("a", "text")], 1)
    with pytest.raises(Exception) as caught:
        sparkq.predict_rdd(pairs, artifact).collect()
    found = expected_failure(caught.value)
    assert type(found) is InputError
    assert_clear(found, "rdd", "bytes", "str")


def test_failure_in_an_evaluation(
    spark: SparkSession, folder: Path, falsified: ModelArtifact, local_failure: EngineError, tmp_path: Path,
) -> None:
    """`evaluate` runs at once, so it raises the worker's error itself."""
    labels = tmp_path / "labels.csv"
    labels.write_text(f"path,label\n{folder}/000.png,0\n")
    with pytest.raises(EngineError) as caught:
        evaluate(sparkq.read_images(spark, str(folder)), falsified, labels=str(labels))
    assert (caught.value.message, caught.value.hint) == (local_failure.message, local_failure.hint)


def test_other_failures_are_not_ours(spark: SparkSession) -> None:
    """A bug in the user's function, or an error of Spark, is not turned into a sentence of ours."""
    with pytest.raises(Exception) as in_worker:
        spark.sparkContext.parallelize([0], 1).map(lambda number: 1 // number).collect()
    assert expected_failure(in_worker.value) is None
    with pytest.raises(Exception) as in_spark:
        spark.table("no_such_table")
    assert expected_failure(in_spark.value) is None
    assert expected_failure(ValueError("sparkq.errors.NoSuchError: text")) is None


@pytest.mark.parametrize(("text", "word"), [
    ("java.lang.OutOfMemoryError: Java heap space", "memory"), ("Python worker exited unexpectedly (crashed)", "worker died"),
    ("ExecutorLostFailure (executor 3 exited)", "executor was lost"), ("[JAVA_GATEWAY_EXITED] Java gateway exited", "JVM"),
    ("Job 3 cancelled because SparkContext was shut down", "stopped"), ("java.io.IOException: No space left on device", "space"),
])
def test_what_the_machine_did_is_expected(text: str, word: str) -> None:
    """Also where something else followed from it; and whatever it is, it says what to do."""
    for error in (RuntimeError(text), _followed_by(RuntimeError(text), KeyError("a clean-up that failed"))):
        found = machine_failure(error)
        assert found is not None and word in found.message and found.hint
    assert machine_failure(_followed_by(RuntimeError(text), InputError("It is so."))) is None


def test_the_rest_may_be_a_fault_of_sparkq() -> None:
    """And is reported as such."""
    assert machine_failure(RuntimeError("Job aborted: java.lang.NullPointerException")) is None
    assert machine_failure(ZeroDivisionError()) is None


def _followed_by(first: Exception, second: Exception) -> Exception:
    second.__context__ = first
    return second
