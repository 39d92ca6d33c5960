"""Embeddings on Spark: rows, commits, resume, comparison with float, and what has no meaning for them."""
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import ArrayType, FloatType

import sparkq
from sparkq.artifact.file import ModelArtifact
from sparkq.config import ModelTaskConfig, QuantizationConfig
from sparkq.demo.digits import PREPROCESS
from sparkq.errors import InputError
from sparkq.images.preprocess import preprocess_content
from sparkq.quantization import quantize
from sparkq.quantization.task_model import task_model
from sparkq.spark.output.commit import output_folder
from sparkq.spark.output.resume import remaining_images
from sparkq.worker.predictor import Predictor
from tests.models import digit_files, digits, digits_net
from tests.spark.conftest import IMAGES
from tests.spark.local import assert_clear


@pytest.fixture(scope="module")
def embedders() -> dict[str, ModelArtifact]:
    """INT8 and float, of the digits."""
    model, task = task_model(digits_net(), ModelTaskConfig("embedding"), PREPROCESS)
    return {
        recipe: quantize(
            model, calibration=digits()[0].images[:64], preprocess=PREPROCESS, config=QuantizationConfig(recipe=recipe),
            task=task, name="DigitsNet",
        ) for recipe in ("static", "none")
    }


def test_a_job_from_files_to_rows(
    spark: SparkSession, folder: Path, files: dict[str, bytes], embedders: dict[str, ModelArtifact], tmp_path: Path,
) -> None:
    """To the bit those of the local engine; broken images, quarantine, drift, resume and reading back as for any task."""
    photos, artifact = tmp_path / "photos", embedders["static"]
    photos.mkdir()
    for name, content in list(files.items())[:40]:
        (photos / name).write_bytes(content)
    (photos / "broken.png").write_bytes(b"no image")
    artifact.save(str(tmp_path / "m.sparkq"))
    job = sparkq.PredictionJob(
        model=str(tmp_path / "m.sparkq"), input=str(photos), output=str(tmp_path / "out"), drift_sample=1.0, resume=True,
        max_error_rate=1.0, quarantine=str(tmp_path / "failed"), run_id="first",
    )
    result = sparkq.run_prediction_job(spark, job)
    assert (result["rows"], result["errors"], result["task"]) == (41, 1, "embedding")
    assert result["drift"]["score_psi"] is None and result["drift"]["label_psi"] is None
    assert result["drift"]["recalibrate"] is False and result["drift"]["activations"] > 3
    predictions = sparkq.read_predictions(spark, str(tmp_path / "out"))
    assert predictions.schema["embedding"].dataType == ArrayType(FloatType())
    rows = {Path(row["path"]).name: row for row in predictions.collect()}
    engine = Predictor(artifact).engine
    for name, content in list(files.items())[:40]:
        vector = engine.run(np.stack([preprocess_content(content, PREPROCESS)]))[0]
        assert np.array(rows[name]["embedding"], np.float32).tobytes() == vector.tobytes()
    assert (rows["broken.png"]["status"], rows["broken.png"]["embedding"]) == ("error", None)
    failed = spark.read.parquet(str(tmp_path / "failed"))
    assert failed.count() == 1 and "embedding" not in failed.columns
    again = sparkq.run_prediction_job(spark, sparkq.PredictionJob(
        model=job.model, input=job.input, output=job.output, resume=True, max_error_rate=1.0, run_id="second",
    ))
    assert (again["rows"], again["skipped"]) == (0, 41)
    # One payload may be two artifacts: what a classifier says of an image is still to be found out.
    classifier = replace(artifact, manifest=replace(artifact.manifest, task="classification", classes=64, scores="logits"))
    images = sparkq.read_images(spark, str(photos))
    found = [
        remaining_images(images, output_folder(spark, job.output), one, config=job.inference())[1]
        for one in (artifact, classifier)
    ]
    assert found == [0, 41]


def test_comparison_with_float(images_df: DataFrame, embedders: dict[str, ModelArtifact]) -> None:
    """The figures of all images, counted by Spark."""
    found = sparkq.compare_embeddings(images_df, embedders["static"], embedders["none"])
    pixels = np.stack([preprocess_content(file, PREPROCESS) for file in digit_files(IMAGES)])
    int8, floating = (Predictor(embedders[recipe]).engine.run(pixels).astype(float) for recipe in ("static", "none"))
    cosines = (int8 * floating).sum(1) / np.linalg.norm(int8, axis=1) / np.linalg.norm(floating, axis=1)
    assert (found.images, found.errors) == (IMAGES, 0)
    assert found.mean_cosine == pytest.approx(cosines.mean(), abs=1e-6) and found.mean_cosine > 0.99
    assert found.least_cosine == pytest.approx(cosines.min(), abs=1e-6)
    assert found.sqnr_db is not None and found.sqnr_db > 15


def test_what_has_no_meaning_is_refused(
    images_df: DataFrame, artifact: ModelArtifact, embedders: dict[str, ModelArtifact], tmp_path: Path,
) -> None:
    """Labels of an embedding, embeddings of a classification, a folder a label."""
    with pytest.raises(InputError) as caught:
        sparkq.evaluate(images_df, embedders["static"], labels=str(tmp_path / "labels.csv"))
    assert_clear(caught.value, "evaluate: expected an artifact of task classification", "embedding", "compare_embeddings")
    with pytest.raises(InputError, match="compare_embeddings: expected an artifact of task embedding; got"):
        sparkq.compare_embeddings(images_df, artifact, embedders["none"])
    with pytest.raises(InputError, match="partition_by: expected a column of strings.*got 'label_name'"):
        predictions = sparkq.predict(images_df, embedders["static"])
        sparkq.write_predictions(predictions, str(tmp_path / "out"), partition_by=("label_name",))
