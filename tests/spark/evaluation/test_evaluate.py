"""`evaluate`: the figures are those that one finds without Spark, and only labelled images count."""
from __future__ import annotations

import csv
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from pyspark.sql import SparkSession

import sparkq
from sparkq.artifact.file import ModelArtifact
from sparkq.config import InferenceConfig
from sparkq.errors import InputError
from sparkq.images.preprocess import preprocess_content
from sparkq.spark.evaluation.evaluate import evaluate
from sparkq.worker.predictor import Predictor
from tests.models import digits, digits_artifact, one_label_artifact
from tests.spark.conftest import IMAGES
from tests.spark.local import assert_clear

Outputs = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def truth() -> npt.NDArray[np.int64]:
    """The digit on each scan."""
    return digits()[1].labels[:IMAGES]


def _write_csv(path: Path, labels: Mapping[str, object], *, header: str = "path,label") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        stream.write(header + "\n")
        csv.writer(stream).writerows(labels.items())
    return str(path)


@pytest.fixture
def labels_csv(truth: npt.NDArray[np.int64], folder: Path, tmp_path: Path) -> str:
    """Absolute paths and class indices."""
    return _write_csv(tmp_path / "labels.csv", {f"{folder}/{index:03d}.png": label for index, label in enumerate(truth)})


def _outputs(artifact: ModelArtifact, files: dict[str, bytes]) -> Outputs:
    """What the model says of each image, float64 [N, C]."""
    preprocess = artifact.manifest.preprocess
    images = np.stack([preprocess_content(content, preprocess) for content in files.values()])
    return Predictor(artifact).engine.run(images).astype(np.float64)


def _accuracy(outputs: Outputs, truth: npt.NDArray[np.int64], top: int) -> float:
    """Percent of images whose label has fewer than `top` better classes; of equal outputs the smaller index is better."""
    better = [
        sum(other > row[label] or (other == row[label] and index < label) for index, other in enumerate(row))
        for row, label in zip(outputs, truth, strict=True)
    ]
    return 100 * sum(count < top for count in better) / len(truth)


def test_figures_against_the_float_model(
    spark: SparkSession, folder: Path, files: dict[str, bytes], artifact: ModelArtifact, truth: npt.NDArray[np.int64],
    labels_csv: str,
) -> None:
    """Every figure, by its definition."""
    float_artifact = digits_artifact("none")
    found = evaluate(sparkq.read_images(spark, str(folder)), artifact, labels=labels_csv, float_artifact=float_artifact)
    quantized, exact = _outputs(artifact, files), _outputs(float_artifact, files)
    assert (found.images, found.errors) == (IMAGES, 0)
    assert found.top1 == pytest.approx(_accuracy(quantized, truth, 1))
    assert found.top5 == pytest.approx(_accuracy(quantized, truth, 5))
    assert found.float_top1 == pytest.approx(_accuracy(exact, truth, 1))
    assert found.float_top5 == pytest.approx(_accuracy(exact, truth, 5))
    assert found.accuracy_drop == pytest.approx(found.float_top1 - found.top1)
    assert found.agreement == pytest.approx(100 * (quantized.argmax(1) == exact.argmax(1)).mean())
    assert found.changed == ((quantized.argmax(1) == truth) != (exact.argmax(1) == truth)).sum()
    noise = ((exact - quantized) ** 2).sum()
    # Float sums differ in their last digits with the batch, so the noise is equal to about three digits.
    assert found.sqnr_db == pytest.approx(10 * np.log10((exact**2).sum() / noise), abs=0.01)
    assert 80 < found.top1 < found.top5 <= 100


@pytest.mark.parametrize(("batch_size", "partitions"), [(1, 1), (7, 7), (64, 3)])
def test_figures_do_not_depend_on_batch_or_partitions(
    spark: SparkSession, folder: Path, artifact: ModelArtifact, labels_csv: str, batch_size: int, partitions: int,
) -> None:
    """INT8 accuracy is a property of the model."""
    images = sparkq.read_images(spark, str(folder)).repartition(partitions)
    found = evaluate(images, artifact, labels=labels_csv, config=InferenceConfig(batch_size=batch_size))
    reference = evaluate(sparkq.read_images(spark, str(folder)).coalesce(1), artifact, labels=labels_csv)
    assert found == reference
    assert (found.float_top1, found.accuracy_drop, found.agreement, found.sqnr_db) == (None,) * 4


def test_model_against_itself(spark: SparkSession, folder: Path, labels_csv: str) -> None:
    """Nothing differs: full agreement, no drop, and no number for an infinite ratio."""
    artifact = digits_artifact("none")
    found = evaluate(sparkq.read_images(spark, str(folder)), artifact, labels=labels_csv, float_artifact=artifact)
    assert (found.agreement, found.accuracy_drop, found.sqnr_db) == (100, 0, None)
    assert found.top1 == found.float_top1


@pytest.mark.parametrize("spelling", ["relative", "dotted", "class_name", "extra_columns", "folder of 100% [x]"])
def test_spellings_of_labels(
    spark: SparkSession, folder: Path, artifact: ModelArtifact, truth: npt.NDArray[np.int64], tmp_path: Path, spelling: str,
) -> None:
    """Paths relative to the CSV, class names, more columns, odd folders: all images are found and have their label."""
    images = tmp_path / (spelling if " " in spelling else "images")
    shutil.copytree(folder, images)
    names = artifact.manifest.labels
    assert names is not None
    prefix = "./other/../images" if spelling == "dotted" else images.name
    rows = {f"{prefix}/{index:03d}.png": names[label] if spelling == "class_name" else label for index, label in enumerate(truth)}
    if spelling == "extra_columns":
        labels = str(tmp_path / "labels.csv")
        Path(labels).write_text("author,label,path\n" + "".join(f'"a, b",{label},{path}\n' for path, label in rows.items()))
    else:
        labels = _write_csv(tmp_path / "labels.csv", rows)
    found = evaluate(sparkq.read_images(spark, str(images)), artifact, labels=labels)
    assert (found.images, found.errors) == (IMAGES, 0)
    assert found.top1 > 80


def test_only_labelled_images_count(
    spark: SparkSession, folder: Path, files: dict[str, bytes], artifact: ModelArtifact, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Images without a label are left out; labels without an image are counted in a warning."""
    predicted = _outputs(artifact, files).argmax(1)
    rows = {f"{folder}/{index:03d}.png": predicted[index] for index in range(10)}
    rows |= {f"{folder}/{index:03d}.png": (predicted[index] + 1) % 10 for index in range(10, 15)}
    rows |= {f"{folder}/absent{index}.png": 0 for index in range(3)}
    with caplog.at_level(logging.WARNING):
        found = evaluate(sparkq.read_images(spark, str(folder)), artifact, labels=_write_csv(tmp_path / "labels.csv", rows))
    assert (found.images, found.errors) == (15, 0)
    assert found.top1 == pytest.approx(100 * 10 / 15)
    assert "3 of its 18 images are not in the input" in caplog.text


def test_broken_images_are_counted_apart(
    spark: SparkSession, artifact: ModelArtifact, files: dict[str, bytes], tmp_path: Path,
) -> None:
    """They are errors and in no percentage, also where a file has zero bytes."""
    (tmp_path / "whole.png").write_bytes(files["000.png"])
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "zero.png").touch()
    label = int(_outputs(artifact, {"whole": files["000.png"]}).argmax())
    labels = _write_csv(tmp_path / "labels.csv", {"whole.png": label, "text.png": label, "zero.png": label})
    found = evaluate(
        sparkq.read_images(spark, str(tmp_path), glob="*.png"), artifact, labels=labels, float_artifact=digits_artifact("none"),
    )
    assert (found.images, found.errors, found.top1, found.top5) == (1, 2, 100, 100)


@pytest.mark.parametrize(
    ("rows", "header", "words"),
    [
        ({"absent.png": 0, "gone.png": 1}, "path,label", ("2 paths", "absent.png", "relative to the CSV")),
        ({"000.png": 10}, "path,label", ("line 2", "0 to 9", "'10'")),
        ({"000.png": "platypus"}, "path,label", ("line 2", "'platypus'")),
        ({"000.png": 1}, "file,label", ("path and label", "file, label")),
        ({}, "path,label", ("labels.csv", "at least one")),
    ],
    ids=["no_match", "index_out_of_range", "unknown_name", "no_path_column", "no_rows"],
)
def test_unusable_labels(
    spark: SparkSession, folder: Path, artifact: ModelArtifact, tmp_path: Path, rows: dict[str, object], header: str,
    words: tuple[str, ...],
) -> None:
    """One sentence that names the file and what is wrong with it."""
    labels = _write_csv(tmp_path / "labels.csv", rows, header=header)
    with pytest.raises(InputError) as caught:
        evaluate(sparkq.read_images(spark, str(folder)), artifact, labels=labels)
    assert_clear(caught.value, "labels.csv", *words)


def test_images_without_path(spark: SparkSession, artifact: ModelArtifact, labels_csv: str) -> None:
    """There is nothing to match labels with."""
    with pytest.raises(InputError) as caught:
        evaluate(spark.createDataFrame([], "id int, content binary"), artifact, labels=labels_csv)
    assert_clear(caught.value, "'path'", "id, content")


def test_one_label_for_all_and_accuracy_at_chance_level(
    spark: SparkSession, folder: Path, labels_csv: str, caplog: pytest.LogCaptureFixture,
) -> None:
    """Said of INT8 and of float; a model that is in order is left in peace."""
    artifact, reference = one_label_artifact("static"), one_label_artifact("none")
    caplog.clear()
    images = sparkq.read_images(spark, str(folder))
    found = evaluate(images, artifact, labels=labels_csv, float_artifact=reference)
    chance, int8, exact = found.warnings
    assert "the float model is right on" in chance and "do not belong together" in chance
    assert int8.startswith(f"artifact 'broken' gives all {IMAGES} images the same label (9), although it tells 10 apart")
    assert exact.startswith(f"the float model gives all {IMAGES} images the same label (9)")
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        f"evaluate: {warning}" for warning in found.warnings
    ]
    assert evaluate(images, digits_artifact(), labels=labels_csv, float_artifact=digits_artifact("none")).warnings == ()
