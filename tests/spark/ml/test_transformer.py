"""``sparkq.ml`` stages: Params, pipelines, what becomes of broken images, and stages that come back from storage."""
from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pyspark.errors import PySparkException
from pyspark.ml import Pipeline, PipelineModel, Transformer
from pyspark.ml.classification import LogisticRegression
from pyspark.ml.evaluation import MulticlassClassificationEvaluator
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import sparkq
from sparkq.artifact.file import ModelArtifact
from sparkq.config import DetectionConfig, QuantizationConfig
from sparkq.errors import ArtifactDigestError, ConfigError, InputError
from sparkq.images.preprocess import preprocess_content
from sparkq.ml import ImageClassifier, ImageDetector, ImageEmbedder
from sparkq.worker.predictor import Predictor
from tests import HANG_SECONDS
from tests.java_start import clean_environment
from tests.models import DIGITS_PREPROCESS, digits, digits_net
from tests.shapes import NAMES, SmallSSD, scene
from tests.shapes import PREPROCESS as SHAPES_PREPROCESS
from tests.spark.local import COLUMNS, assert_clear, by_path

Expected = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def truth_df(images_df: DataFrame, spark: SparkSession) -> DataFrame:
    """Digits and what they show."""
    truth = [(f"{index:03d}.png", float(label)) for index, label in enumerate(digits()[1].labels[:60])]
    return images_df.join(spark.createDataFrame(truth, "path string, truth double"), "path").coalesce(1).cache()


@pytest.fixture(scope="module")
def embedding() -> ModelArtifact:
    """What the demonstration's network hands to its last layer."""
    return sparkq.quantize(digits_net(), calibration=digits()[0].images[:64], preprocess=DIGITS_PREPROCESS, task="embedding")


@pytest.fixture(scope="module")
def detection() -> ModelArtifact:
    """A network that has learned nothing finds boxes everywhere."""
    scenes = [scene(seed).image for seed in range(8)]
    kept = DetectionConfig(score_threshold=0.3, max_detections=3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return sparkq.quantize(
            SmallSSD().eval(), calibration=scenes, preprocess=SHAPES_PREPROCESS, labels=NAMES, task="detection", detection=kept,
            config=QuantizationConfig(recipe="none"),
        )


@pytest.fixture(scope="module")
def broken_df(images_df: DataFrame, spark: SparkSession) -> DataFrame:
    """Eight digits and two files that are none."""
    broken = spark.createDataFrame([("empty.png", bytearray()), ("rubbish.png", bytearray(b"no image"))], images_df.schema)
    return images_df.limit(8).union(broken).coalesce(1)


def test_rows_are_those_of_predict(images_df: DataFrame, artifact: ModelArtifact, expected: Expected) -> None:
    """A Transformer of Spark ML; nothing is added that nobody asked for."""
    stage = ImageClassifier(artifact)
    assert isinstance(stage, Transformer)
    rows = stage.transform(images_df)
    assert rows.columns == ["path", *COLUMNS]
    assert by_path(rows.collect()) == expected
    assert rows.schema == stage.transformSchema(images_df.schema)


@pytest.mark.parametrize("column", ["path", "picture"])
def test_the_type_of_the_input_column_says_what_it_holds(
    folder: Path, spark: SparkSession, artifact: ModelArtifact, expected: Expected, column: str,
) -> None:
    """Paths, which workers read, as encoded images."""
    files = spark.read.format("binaryFile").load(str(folder)).withColumnRenamed("content", "picture")
    stage = ImageClassifier(artifact, inputCol=column)
    rows = stage.transform(files)
    kept = ["path", "modificationTime", "length"] + (["picture"] if column == "path" else [])
    assert rows.columns == stage.transformSchema(files.schema).names == [*kept, *COLUMNS]
    found = {Path(row["path"]).name: (row["label"], row["score"]) for row in rows.collect()}
    assert found == {name: (row["label"], row["score"]) for name, row in expected.items()}


def test_params(artifact: ModelArtifact) -> None:
    """Documented, with the defaults of `predict`; set by constructor, setter, `transform` and `copy`."""
    stage = ImageClassifier(artifact, topK=2).setBatchSize("auto").setEngine("onednn").setInputCol("x").setHandleInvalid("skip")
    stage.setProbabilityCol("probability").setPredictionCol("prediction")
    assert {param.name for param in stage.params} == {
        "inputCol", "engine", "batchSize", "handleInvalid", "topK", "predictionCol", "probabilityCol",
    }
    assert all(len(param.doc) > 20 and param.name in stage.explainParams() for param in stage.params)
    found = (stage.getTopK(), stage.getBatchSize(), stage.getEngine(), stage.getInputCol(), stage.getHandleInvalid())
    assert found == (2, "auto", "onednn", "x", "skip")
    assert (stage.getProbabilityCol(), stage.getPredictionCol()) == ("probability", "prediction")
    other = stage.copy({stage.topK: 4})
    assert (other.getTopK(), stage.getTopK(), other.uid, other.artifact) == (4, 2, stage.uid, artifact)
    fresh = ImageClassifier(artifact)
    assert (fresh.getBatchSize(), fresh.getTopK(), fresh.getHandleInvalid(), fresh.isDefined("engine")) == (16, 5, "keep", False)


@pytest.mark.parametrize(("param", "value"), [
    ("engine", "tensorrt"), ("batchSize", 0), ("batchSize", "large"), ("topK", 1.5), ("handleInvalid", "ignore"),
])
def test_a_wrong_value_is_refused_when_it_is_set(artifact: ModelArtifact, param: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"{param}: expected"):
        ImageClassifier(artifact, **{param: value})
    stage = ImageClassifier(artifact)
    with pytest.raises(ConfigError, match=f"{param}: expected"):
        stage.set(stage.getParam(param), value)


def test_an_artifact_of_another_task_is_refused(
    artifact: ModelArtifact, embedding: ModelArtifact, detection: ModelArtifact,
) -> None:
    """At once, with the stage that takes it."""
    for kind, other, fitting in (
        (ImageClassifier, embedding, "sparkq.ml.ImageEmbedder"), (ImageEmbedder, artifact, "sparkq.ml.ImageClassifier"),
        (ImageDetector, artifact, "sparkq.ml.ImageClassifier"), (ImageEmbedder, detection, "sparkq.ml.ImageDetector"),
    ):
        with pytest.raises(InputError) as caught:
            kind(other)
        assert_clear(caught.value, kind.__name__, f"task {kind.model_task}", f"task {other.manifest.task}", fitting)
    with pytest.raises(ConfigError, match="ModelArtifact"):
        ImageClassifier("model.sparkq")  # type: ignore[arg-type]


@pytest.mark.parametrize(("column", "params", "words"), [
    ("label", {}, "label"), ("Odds", {"probabilityCol": "odds"}, "odds"), ("path", {"inputCol": "absent"}, "absent"),
    ("path", {"predictionCol": "one", "probabilityCol": "one"}, "one"), ("path", {"probabilityCol": "score"}, "score"),
])
def test_a_schema_that_does_not_fit(
    images_df: DataFrame, artifact: ModelArtifact, column: str, params: dict[str, str], words: str,
) -> None:
    """Is refused before anything runs, by `transformSchema` as by `transform`."""
    stage, images = ImageClassifier(artifact, **params), images_df.withColumnRenamed("path", column)
    for refused in (lambda: stage.transformSchema(images.schema), lambda: stage.transform(images)):
        with pytest.raises(InputError) as caught:
            refused()
        assert_clear(caught.value, words)


def test_before_a_logistic_regression(truth_df: DataFrame, artifact: ModelArtifact, expected: Expected) -> None:
    """All scores as a vector, in the order of the classes; the pipeline learns from them what the digits are."""
    stage = ImageClassifier(artifact, probabilityCol="features", predictionCol="guess", topK=3)
    regression = LogisticRegression(labelCol="truth", maxIter=10)
    model = Pipeline(stages=[stage, regression]).fit(truth_df)
    rows = model.transform(truth_df).cache()
    first = rows.orderBy("path").first()
    assert first is not None
    best = expected[first["path"]]["top_k"]
    assert [first["features"][entry["label"]] for entry in best] == [entry["score"] for entry in best]
    assert len(first["features"]) == 10 and sum(first["features"]) == pytest.approx(1, abs=1e-5)
    assert [entry.asDict() for entry in first["top_k"]] == best[:3]
    evaluator = MulticlassClassificationEvaluator(labelCol="truth", metricName="accuracy")
    assert evaluator.evaluate(rows) > 0.9
    right = rows.where("guess = truth").count() / rows.count()
    assert evaluator.setPredictionCol("guess").evaluate(rows) == pytest.approx(right)


def test_embeddings_before_a_logistic_regression(
    truth_df: DataFrame, embedding: ModelArtifact, files: dict[str, bytes],
) -> None:
    """The vectors that the predictor gives to each image alone, in Spark ML's type, and a pipeline that learns from them."""
    stage = ImageEmbedder(embedding)
    rows = stage.transform(truth_df)
    assert rows.schema == stage.transformSchema(truth_df.schema)
    assert rows.columns == ["path", "truth", "status", "error_code", "error_message", "model_digest", "engine", "features"]
    predictor = Predictor(embedding)
    for row in rows.limit(5).collect():
        pixels = preprocess_content(files[row["path"]], embedding.manifest.preprocess)
        np.testing.assert_array_equal(row["features"].toArray(), predictor.run_rows(np.stack([pixels]), batch_size=1).outputs[0])
    pipeline = Pipeline(stages=[ImageEmbedder(embedding, outputCol="x"), LogisticRegression(featuresCol="x", labelCol="truth")])
    fitted = pipeline.fit(truth_df, {pipeline.getStages()[1].maxIter: 10})  # type: ignore[attr-defined]
    evaluator = MulticlassClassificationEvaluator(labelCol="truth", metricName="accuracy")
    assert evaluator.evaluate(fitted.transform(truth_df)) > 0.8


def test_a_detector(images_df: DataFrame, detection: ModelArtifact, tmp_path: Path) -> None:
    """Typed boxes, as `predict` has them, also of a stage that was saved."""
    stage = ImageDetector(detection, batchSize=8)
    stage.save(str(tmp_path / "stage"))
    loaded = ImageDetector.load(str(tmp_path / "stage"))
    rows = loaded.transform(images_df.limit(10))
    assert rows.schema == loaded.transformSchema(images_df.schema) and loaded.getBatchSize() == 8
    found = rows.collect()
    assert found == sparkq.predict(images_df.limit(10), detection).collect()
    assert sum(len(row["detections"]) for row in found) > 0


def test_an_embedder_refuses_broken_images_unless_told_what_to_do(broken_df: DataFrame, embedding: ModelArtifact) -> None:
    """A stage that learns needs every vector, so that nobody overlooks those that are missing."""
    stage = ImageEmbedder(embedding)
    assert stage.getHandleInvalid() == "error"
    with pytest.raises(PySparkException, match="ImageEmbedder: expected images"):
        LogisticRegression(labelCol="truth").fit(stage.transform(broken_df.withColumn("truth", F.lit(1.0))))
    kept = stage.setHandleInvalid("keep").setOutputCol("embedding").transform(broken_df).collect()
    assert Counter((row["status"], row["embedding"] is None) for row in kept) == {("ok", False): 8, ("error", True): 2}


@pytest.mark.parametrize("handling", ["keep", "skip", "error"])
def test_images_that_cannot_be_predicted(broken_df: DataFrame, artifact: ModelArtifact, handling: str) -> None:
    """A row with a status by default; left out, or an error, for who asks for that, also if only other columns are used."""
    stage = ImageClassifier(artifact, probabilityCol="odds", predictionCol="guess", handleInvalid=handling)
    rows = stage.transform(broken_df)
    if handling == "error":
        with pytest.raises(PySparkException, match="ImageClassifier: expected images.*handleInvalid") as caught:
            rows.select("path").collect()
        assert "empty_content" in str(caught.value) and "empty.png" in str(caught.value)
        return
    found = {row["path"]: row for row in rows.collect()}
    broken = {"empty.png", "rubbish.png"}
    assert set(found) == {f"{index:03d}.png" for index in range(8)} | (broken if handling == "keep" else set())
    for path in broken & set(found):
        assert found[path]["status"] == "error" and found[path]["odds"] is None and found[path]["guess"] is None


def test_kept_error_rows_never_get_an_answer_downstream(
    broken_df: DataFrame, truth_df: DataFrame, artifact: ModelArtifact,
) -> None:
    """A stage behind refuses a vector that is null; it does not take it for zeros."""
    stage = ImageClassifier(artifact, probabilityCol="features")
    model = Pipeline(stages=[stage, LogisticRegression(labelCol="truth", maxIter=2)]).fit(truth_df)
    with pytest.raises(Exception, match="(?s)FAILED_EXECUTE_UDF|NullPointer|null"):
        model.transform(broken_df).select("prediction").collect()
    with pytest.raises(Exception, match="(?i)null"):
        LogisticRegression(labelCol="truth").fit(stage.transform(broken_df.withColumn("truth", F.lit(1.0))))


@pytest.fixture(scope="module", params=["file", "viewfs"])
def place(request: pytest.FixtureRequest, spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where stages are saved: a local path, and a uri of Hadoop's viewfs over the local disk."""
    folder = tmp_path_factory.mktemp("stages")
    if request.param == "file":
        return str(folder)
    host, context = f"x{uuid.uuid4().hex}", spark.sparkContext
    context._jsc.hadoopConfiguration().set(f"fs.viewfs.mounttable.{host}.link./data", f"file://{folder}")
    return f"viewfs://{host}/data"


def test_save_and_load(place: str, images_df: DataFrame, artifact: ModelArtifact, expected: Expected) -> None:
    """Params, uid and the artifact itself; what is there is not written over, unless asked to."""
    stage = ImageClassifier(artifact, topK=2, probabilityCol="odds")
    stage.save(f"{place}/stage")
    loaded = ImageClassifier.load(f"{place}/stage")
    assert loaded.artifact.dumps() == artifact.dumps()
    assert (loaded.uid, loaded.extractParamMap()) == (stage.uid, stage.extractParamMap())
    with pytest.raises(Exception, match="(?i)already exists"):
        ImageClassifier(artifact).save(f"{place}/stage")
    assert ImageClassifier.load(f"{place}/stage").getTopK() == 2
    stage.setTopK(1).write().overwrite().save(f"{place}/stage")
    assert ImageClassifier.load(f"{place}/stage").getTopK() == 1
    found = loaded.transform(images_df).first()
    assert found is not None and found["label"] == expected[found["path"]]["label"]


@pytest.mark.parametrize("damage", ["changed", "another", "gone", "no_stage", "another_class"])
def test_a_damaged_stage_is_refused(tmp_path: Path, spark: SparkSession, artifact: ModelArtifact, damage: str) -> None:
    """An artifact that is whole, but is not the one that was saved, too."""
    stage, place = ImageClassifier(artifact), tmp_path / "stage"
    file = place / "artifact.sparkq"
    if damage == "another_class":
        LogisticRegression().save(str(place))
    elif damage != "no_stage":
        stage.save(str(place))
    if damage == "changed":
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    elif damage == "another":
        replace(artifact, manifest=replace(artifact.manifest, name="another")).save(str(file))
    elif damage == "gone":
        file.unlink()
    kind = ArtifactDigestError if damage in ("changed", "another") else InputError
    with pytest.raises(kind) as caught:
        ImageClassifier.load(str(place))
    assert_clear(caught.value, str(place))


@pytest.mark.jvm
def test_a_pipeline_is_loaded_by_another_process(
    truth_df: DataFrame, folder: Path, artifact: ModelArtifact, tmp_path: Path,
) -> None:
    """Which knows nothing but pyspark and the path, and says of every image what this one says."""
    stage, place = ImageClassifier(artifact, probabilityCol="features"), str(tmp_path / "pipeline")
    model = Pipeline(stages=[stage, LogisticRegression(labelCol="truth", maxIter=5)]).fit(truth_df)
    model.save(place)
    script = tmp_path / "load.py"
    script.write_text(
        "import json, sys\n"
        "from pyspark.ml import PipelineModel\n"
        "from pyspark.sql import SparkSession\n"
        "spark = SparkSession.builder.master('local[1]').config('spark.ui.enabled', 'false').getOrCreate()\n"
        "model = PipelineModel.load(sys.argv[1])\n"
        "rows = model.transform(spark.read.format('binaryFile').load(sys.argv[2])).select('path', 'model_digest', 'prediction')\n"
        "print(json.dumps([row.asDict() for row in rows.collect()]))\n"
    )
    environment = clean_environment()
    environment |= {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, script, place, folder], env=environment, cwd=tmp_path, capture_output=True, text=True,
        timeout=HANG_SECONDS,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = {Path(row["path"]).name: (row["prediction"], row["model_digest"]) for row in json.loads(done.stdout)}
    here = model.transform(truth_df).select("path", "prediction").collect()
    assert len(found) == len(here) and found == {row["path"]: (row["prediction"], artifact.digest) for row in here}
    assert isinstance(PipelineModel.load(place).stages[0], ImageClassifier)
