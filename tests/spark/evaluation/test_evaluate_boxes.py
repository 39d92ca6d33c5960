"""Detection from end to end: a network trained on generated shapes, INT8 against float, boxes in rows, and their precision."""
from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from pyspark.sql import DataFrame, SparkSession
from torch import nn

import sparkq
from sparkq.artifact.file import ModelArtifact
from sparkq.cli import main
from sparkq.config import DetectionConfig, InferenceConfig, QuantizationConfig
from sparkq.engines.registry import fitting_engines
from sparkq.errors import EngineError, InputError
from sparkq.images.preprocess import preprocess_with_geometry
from sparkq.metrics.average_precision import mean_average_precision
from sparkq.model_tasks import Detection
from sparkq.model_tasks.detection.agreement import BoxAgreement
from sparkq.model_tasks.detection.detector import Boxes
from sparkq.model_tasks.detection.matching import true_positives
from sparkq.spark.output.commit import output_folder
from sparkq.spark.output.resume import remaining_images
from sparkq.worker.predictor import Predictor
from tests import shapes
from tests.sample_artifacts import sample_artifact
from tests.shapes import ANCHORS, INPUT, NAMES, PREPROCESS, Scene, scene, trained_ssd
from tests.spark.local import assert_clear

SHAPES = ((96, 96), (150, 220), (300, 180), (97, 400))
DETECTED = (
    "array<struct<label:int,label_name:string,score:float,x_min:float,y_min:float,x_max:float,y_max:float>>"
)


@dataclass(frozen=True)
class Trained:
    """INT8 and float artifacts of one network."""

    model: nn.Module
    int8: ModelArtifact
    floating: ModelArtifact


@pytest.fixture(scope="module")
def trained() -> Trained:
    """About ten seconds of one core."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model = trained_ssd()
        images = [scene(10_000 + seed).image for seed in range(64)]
        arguments: dict[str, Any] = {
            "calibration": images, "preprocess": PREPROCESS, "labels": NAMES, "task": "detection", "name": "shapes",
        }
        floating = sparkq.quantize(model, config=QuantizationConfig(recipe="none"), **arguments)
        return Trained(model, sparkq.quantize(model, min_agreement=0.95, **arguments), floating)
    finally:
        torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def scenes() -> dict[str, Scene]:
    """What no training image was, of several shapes, by file name."""
    return {f"{seed:03d}.png": scene(20_000 + seed, *SHAPES[seed % len(SHAPES)]) for seed in range(40)}


@pytest.fixture(scope="module")
def folder(scenes: dict[str, Scene], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scenes as files: every third one stored lying on its side, with EXIF to turn it."""
    folder = tmp_path_factory.mktemp("shapes")
    for index, (name, one) in enumerate(scenes.items()):
        (folder / name).write_bytes(stored(one.image, turned=index % 3 == 0))
    return folder


def stored(image: np.ndarray[Any, Any], *, turned: bool) -> bytes:
    """As PNG; turned a quarter counter-clockwise, EXIF's orientation 6 turns it back."""
    stream, exif = io.BytesIO(), Image.Exif()
    if turned:
        exif[0x0112] = 6
    Image.fromarray(np.ascontiguousarray(np.rot90(image) if turned else image)).save(stream, "PNG", exif=exif)
    return stream.getvalue()


def local_boxes(artifact: ModelArtifact, contents: Sequence[bytes]) -> list[Boxes]:
    """Of one image at a time, without Spark, in pixels of the original."""
    predictor = Predictor(artifact)
    assert isinstance(predictor.model_task, Detection)
    found = []
    for content in contents:
        pixels, geometry = preprocess_with_geometry(content, artifact.manifest.preprocess)
        boxes = predictor.model_task.detector.detect(predictor.engine.run(np.stack([pixels]))[0])
        found.append(replace(boxes, corners=geometry.to_original(boxes.corners)))
    return found


def precision(found: Sequence[Boxes], scenes: Sequence[Scene]) -> np.ndarray[Any, Any]:
    """Mean average precision in percent at each overlap."""
    pairs = zip(found, scenes, strict=True)
    right = [true_positives(boxes.labels, boxes.corners, one.labels, one.corners) for boxes, one in pairs]
    labels, counts = np.unique(np.concatenate([one.labels for one in scenes]), return_counts=True)
    return 100 * mean_average_precision(
        np.concatenate([boxes.labels for boxes in found]), np.concatenate([boxes.scores for boxes in found]),
        np.concatenate(right), dict(zip(labels.tolist(), counts.tolist(), strict=True)),
    )


def agreement(expected: Sequence[Boxes], found: Sequence[Boxes]) -> BoxAgreement:
    """Over all images."""
    judged = BoxAgreement()
    for pair in zip(expected, found, strict=True):
        judged.add(*pair)
    return judged


def test_int8_finds_what_float_finds(trained: Trained) -> None:
    """Every layer in INT8, heads too; nearly the same boxes, and nearly the same precision however near boxes must be."""
    fresh = [scene(30_000 + seed) for seed in range(150)]
    contents = [stored(one.image, turned=False) for one in fresh]
    found, expected = (local_boxes(artifact, contents) for artifact in (trained.int8, trained.floating))
    float_precision, int8_precision = precision(expected, fresh), precision(found, fresh)
    assert float_precision[0] > 97 and abs(float_precision[0] - int8_precision[0]) < 0.7
    assert float_precision.mean() > 65 and abs(float_precision.mean() - int8_precision.mean()) < 2
    f1 = agreement(expected, found).f1
    assert f1 is not None and f1 > 0.97
    manifest = trained.int8.manifest
    assert manifest.float_layers == () and manifest.int8_macs_percent == 100
    assert manifest.classes == len(NAMES) and manifest.output_length == ANCHORS.count * (len(NAMES) + 4)
    assert manifest.accuracy["agreement"] > 95 and manifest.accuracy["boxes"] > 20


def test_every_int8_engine_finds_the_same_boxes(trained: Trained) -> None:
    """Of one artifact, up to its file and back."""
    artifact = ModelArtifact.loads(trained.int8.dumps())
    assert artifact.manifest.detection == trained.int8.manifest.detection == DetectionConfig(ANCHORS)
    images = np.stack([scene(30_000 + seed).image for seed in range(16)])
    boxes = []
    for engine in fitting_engines("static"):
        predictor = Predictor(artifact, engine=engine)
        assert isinstance(predictor.model_task, Detection)
        boxes.append([predictor.model_task.detector.detect(output) for output in predictor.engine.run(images)])
    for found in boxes[1:]:
        for one, other in zip(boxes[0], found, strict=True):
            assert one.labels.tolist() == other.labels.tolist()
            np.testing.assert_allclose(one.corners, other.corners, atol=1e-3)


def test_a_node_whose_offsets_are_wrong_is_refused(trained: Trained) -> None:
    """However right its logits are, which are far larger."""
    golden = trained.int8.manifest.golden
    output = golden.output.copy()
    output[len(output) // 2:] *= 0.9
    false = replace(trained.int8, manifest=replace(trained.int8.manifest, golden=replace(golden, output=output)))
    with pytest.raises(EngineError, match="expected the golden output"):
        Predictor(false)


@pytest.fixture(scope="module")
def rows(spark: SparkSession, folder: Path, trained: Trained) -> list[Any]:
    """Of all scenes, and of a file that is no image."""
    (folder / "notes.txt").write_text("no image")
    predictions = sparkq.predict(sparkq.read_images(spark, str(folder)).repartition(3), trained.int8)
    assert predictions.schema["detections"].dataType.simpleString() == DETECTED
    assert [name for name in predictions.columns if name in ("label", "top_k", "embedding")] == []
    return sorted(predictions.collect(), key=lambda row: str(row["path"]))


def test_rows_have_typed_boxes_in_pixels_of_the_upright_original(
    rows: list[Any], scenes: dict[str, Scene], folder: Path, trained: Trained,
) -> None:
    """Those of a single image without Spark, to the bit; and they lie on the shapes."""
    assert [row["status"] for row in rows] == ["ok"] * len(scenes) + ["error"]
    assert rows[-1]["detections"] is None and rows[-1]["error_code"] == "not_an_image"
    expected = local_boxes(trained.int8, [(folder / name).read_bytes() for name in scenes])
    found = [boxes_of(row) for row in rows[:-1]]
    for boxes, local, row in zip(found, expected, rows, strict=False):
        np.testing.assert_array_equal(boxes.labels, local.labels)
        np.testing.assert_array_equal(boxes.scores, local.scores)
        np.testing.assert_array_equal(boxes.corners, local.corners)
        assert [box["label_name"] for box in row["detections"]] == [NAMES[label] for label in local.labels]
    assert precision(found, list(scenes.values()))[0] > 90
    for row, one in zip(rows, scenes.values(), strict=False):
        assert sparkq.draw_detections(one.image, row["detections"], minimum_score=0.5).shape == one.image.shape


def boxes_of(row: Any) -> Boxes:
    """From a row's column."""
    detections = row["detections"]
    return Boxes(
        np.array([box["label"] for box in detections], np.int64), np.array([box["score"] for box in detections], np.float32),
        np.array([[box[name] for name in ("x_min", "y_min", "x_max", "y_max")] for box in detections], np.float32).reshape(-1, 4),
    )


def test_a_job_knows_its_thresholds(spark: SparkSession, folder: Path, trained: Trained, rows: list[Any], tmp_path: Path) -> None:
    """Drift is measured by the likeliest thing of each image; what other thresholds say is still to be found out."""
    trained.int8.save(str(tmp_path / "model.sparkq"))
    job = sparkq.PredictionJob(
        model=str(tmp_path / "model.sparkq"), input=str(folder), output=str(tmp_path / "out"), drift_sample=1.0,
        max_error_rate=1.0, run_id="first",
    )
    result = sparkq.run_prediction_job(spark, job)
    assert (result["rows"], result["errors"], result["task"]) == (len(rows), 1, "detection")
    assert result["drift"]["images"] == len(rows) - 1 and result["drift"]["score_psi"] is not None
    written = sparkq.read_predictions(spark, job.output)
    assert written.schema["detections"].dataType.simpleString() == DETECTED
    assert {row["path"]: row["detections"] for row in written.collect()} == {row["path"]: row["detections"] for row in rows}
    stricter = replace(trained.int8, manifest=replace(
        trained.int8.manifest, detection=DetectionConfig(ANCHORS, score_threshold=0.5),
    ))
    images, output = sparkq.read_images(spark, str(folder)), output_folder(spark, job.output)
    left = [
        remaining_images(images, output, one, config=job.inference())[1] for one in (trained.int8, stricter)
    ]
    assert left == [0, len(rows)]


@pytest.fixture(scope="module")
def labels_csv(scenes: dict[str, Scene], folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A line a box, relative to the file; one image is not there, one shows nothing and is no image either."""
    path = tmp_path_factory.mktemp("labels") / "boxes.csv"
    with path.open("w", newline="") as stream:
        lines = csv.writer(stream)
        lines.writerow(["path", "label", "x_min", "y_min", "x_max", "y_max"])
        for name, one in scenes.items():
            for label, corners in zip(one.labels.tolist(), one.corners.tolist(), strict=True):
                lines.writerow([folder / name, NAMES[label], *corners])
        lines.writerow([folder / "notes.txt", "", "", "", "", ""])
        lines.writerow([folder / "gone.png", "circle", 1, 2, 3, 4])
    return str(path)


def test_evaluation_on_spark_is_the_local_one(
    spark: SparkSession, scenes: dict[str, Scene], folder: Path, trained: Trained, rows: list[Any], labels_csv: str,
) -> None:
    """In original pixels, INT8 against float, with a standard error."""
    images = sparkq.read_images(spark, str(folder))
    evaluation = sparkq.evaluate_detections(images, trained.int8, labels=labels_csv, float_artifact=trained.floating)
    contents = [(folder / name).read_bytes() for name in scenes]
    found, expected = (local_boxes(artifact, contents) for artifact in (trained.int8, trained.floating))
    both = precision(found, list(scenes.values())), precision(expected, list(scenes.values()))
    assert (evaluation.images, evaluation.errors) == (len(scenes), 1)
    assert (evaluation.map50, evaluation.map50_95) == pytest.approx((both[0][0], both[0].mean()))
    assert (evaluation.float_map50, evaluation.float_map50_95) == pytest.approx((both[1][0], both[1].mean()))
    assert evaluation.accuracy_drop == pytest.approx(both[1][0] - both[0][0])
    f1 = agreement(expected, found).f1
    assert f1 is not None and evaluation.agreement == pytest.approx(100 * f1)
    assert evaluation.standard_error is not None and 0 <= evaluation.standard_error < 5
    alone = sparkq.evaluate_detections(images, trained.int8, labels=labels_csv)
    assert (alone.map50, alone.float_map50, alone.agreement) == (evaluation.map50, None, None)


def test_artifacts_of_other_tasks_and_labels_without_boxes_are_refused(
    spark: SparkSession, folder: Path, trained: Trained, rows: list[Any], labels_csv: str, tmp_path: Path,
) -> None:
    """Each in a sentence."""
    images: DataFrame = sparkq.read_images(spark, str(folder))
    with pytest.raises(InputError) as refused:
        sparkq.evaluate_detections(images, sample_artifact(), labels=labels_csv)
    assert_clear(refused.value, "detection", "classification")
    with pytest.raises(InputError) as other:
        sparkq.evaluate(images, trained.int8, labels=labels_csv)
    assert_clear(other.value, "evaluate_detections")
    empty = tmp_path / "empty.csv"
    empty.write_text(f"path,label,x_min,y_min,x_max,y_max\n{folder}/001.png,,,,,\n")
    with pytest.raises(InputError, match="at least one box in the 1 images"):
        sparkq.evaluate_detections(images, trained.int8, labels=str(empty), config=InferenceConfig(batch_size=4))


def test_commands_make_and_measure_a_detector(
    spark: SparkSession, folder: Path, trained: Trained, rows: list[Any], labels_csv: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """From a config file to an artifact that lost no more than asked for on labelled boxes, and the same figures again."""
    torch.save(trained.model.state_dict(), tmp_path / "weights.pt")
    (tmp_path / "calibration").mkdir()
    for seed in range(32):
        (tmp_path / "calibration" / f"{seed}.png").write_bytes(stored(scene(40_000 + seed).image, turned=False))
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    (tmp_path / "quantize.yaml").write_text(yaml.safe_dump({
        "model": f"{shapes.__file__}:SmallSSD", "weights": "weights.pt", "task": "detection", "labels": "names.txt",
        "detection": {"score_threshold": 0.1, "anchors": {
            "feature_maps": [list(size) for size in ANCHORS.feature_maps], "scales": list(ANCHORS.scales),
            "aspect_ratios": [[2], [2], [2]],
        }},
        "preprocess": {"resize": {"mode": "squash", "size": INPUT}, "mean": 0.5, "std": 0.25},
        "calibration": {"input": "calibration"}, "output": "shapes.sparkq", "evaluation": str(folder),
        "evaluation_labels": labels_csv, "max_accuracy_drop": 2.0,
    }))
    made = command(capsys, "quantize", "--config", tmp_path / "quantize.yaml", "--detection-max-detections", 50, "--json")
    artifact = ModelArtifact.load(str(tmp_path / "shapes.sparkq"))
    assert artifact.manifest.detection == DetectionConfig(ANCHORS, score_threshold=0.1, max_detections=50)
    assert artifact.manifest.labels == NAMES and made["attempts"][0]["measured"]["accuracy_drop"] <= 2
    assert "mAP50 %" in made["table"] and made["accuracy"]["map50"] > 90
    measured = command(
        capsys, "evaluate", "--model", tmp_path / "shapes.sparkq", "--input", folder, "--labels", labels_csv, "--float-model",
        f"{shapes.__file__}:SmallSSD", "--weights", tmp_path / "weights.pt", "--json",
    )
    assert {name: measured[name] for name in ("map50", "accuracy_drop", "agreement", "boxes", "images")} == pytest.approx(
        {name: artifact.manifest.accuracy[name] for name in ("map50", "accuracy_drop", "agreement", "boxes", "images")},
    )
    assert main(["inspect", "--model", str(tmp_path / "shapes.sparkq")]) == 0
    assert "detection, 4 classes with the background, boxes above 0.1" in capsys.readouterr().out
    assert main(["quantize", "--config", str(tmp_path / "quantize.yaml"), "--task", "classification"]) == 1
    assert "detection: expected it with task detection; got task classification." in capsys.readouterr().err


def command(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    """Of the command in this process and this session."""
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    document = json.loads(captured.out)
    assert isinstance(document, dict)
    return document
