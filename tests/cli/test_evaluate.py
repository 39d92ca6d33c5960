"""``sparkq evaluate``: the published accuracy of real models, and the figures of small ones."""
from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from pyspark.sql import SparkSession
from torch import save

from sparkq.metrics.sqnr import sqnr_of
from tests.cli.conftest import IMAGES, Command
from tests.models import REFERENCES, digits_artifact, digits_net, reference_artifact


@pytest.mark.parametrize(
    ("name", "folder", "images", "right"),
    [
        ("resnet20", "cifar10", 2000, 1638),
        ("mobilenet", "photos_cc_by", 250, 124),
        ("squeezenet", "photos_cc_by", 250, 143),
    ],
    ids=["resnet20", "mobilenet", "squeezenet"],
)
def test_real_models(
    spark: SparkSession, sparkq: Command, shared_data: Path, tmp_path: Path, name: str, folder: str, images: int, right: int,
) -> None:
    """The float model is right on as many images as the data's README says, to one; INT8 is measured beside it."""
    reference_artifact(shared_data, name).save(str(tmp_path / "model.sparkq"))
    models, reference = shared_data / "models", REFERENCES[name]
    found = sparkq(
        "evaluate", "--model", tmp_path / "model.sparkq", "--input", shared_data / folder / "images",
        "--labels", shared_data / folder / "labels.csv", "--float-model", f"{models}/reference_models.py:{reference.factory}",
        "--weights", models / reference.weights, "--json",
    )
    assert found.code == 0, found.err
    document = found.document
    assert (document["images"], document["errors"]) == (images, 0)
    assert abs(document["float_top1"] * images / 100 - right) <= 1
    assert document["accuracy_drop"] == pytest.approx(document["float_top1"] - document["top1"])
    assert 0 <= document["top1"] <= document["top5"] <= 100 and 0 <= document["agreement"] <= 100
    assert document["float_top1"] < document["float_top5"]
    # What INT8 loses is not judged here, but a model of real weights is no coin either.
    assert document["top1"] > 2 and document["sqnr_db"] > 0


def test_document_of_an_artifact_alone(spark: SparkSession, sparkq: Command, images: Path, model: Path) -> None:
    """Without a float model there is nothing to compare with, so no such keys."""
    found = sparkq("evaluate", "--model", model, "--input", images, "--labels", images.parent / "labels.csv", "--json")
    document = found.document
    assert found.code == 0
    assert document.keys() >= {"images", "errors", "top1", "top5", "model_digest", "engine"}
    assert document.keys().isdisjoint({"float_top1", "accuracy_drop", "agreement", "sqnr_db"})
    assert (document["images"], document["engine"]) == (IMAGES, "fbgemm")
    assert document["top1"] == pytest.approx(round(document["top1"] * IMAGES / 100) * 100 / IMAGES)
    assert 80 < document["top1"] <= document["top5"] <= 100


def test_against_a_float_model_from_a_config_file(spark: SparkSession, sparkq: Command, images: Path, model: Path) -> None:
    """All keys in a file, with paths relative to it; the text for people shows the same figures."""
    folder = model.parent
    (folder / "images").symlink_to(images)
    (folder / "labels.csv").write_text((images.parent / "labels.csv").read_text())
    (folder / "nets.py").write_text("from sparkq.demo.digits import DigitsNet\n\ndef make():\n    return DigitsNet()\n")
    save(digits_net().state_dict(), folder / "weights.pt")
    content = {
        "model": model.name, "input": "images", "labels": "labels.csv", "float_model": "nets.py:make", "weights": "weights.pt",
        "batch_size": 8,
    }
    (folder / "c.yaml").write_text(yaml.safe_dump(content))
    found = sparkq("evaluate", "--config", folder / "c.yaml", "--json")
    assert found.code == 0, found.err
    document = found.document
    assert document["float_top1"] - document["top1"] == pytest.approx(document["accuracy_drop"])
    assert 90 < document["agreement"] <= 100 and document["sqnr_db"] > 10
    shown = sparkq("evaluate", "--config", folder / "c.yaml").out
    figures = (f"{document['top1']:.2f} %", f"{document['float_top1']:.2f} %", f"{document['sqnr_db']:.1f} dB")
    for text in (f"{IMAGES} images", *figures):
        assert text in shown


def test_float_model_with_other_weights_shows(spark: SparkSession, sparkq: Command, images: Path, model: Path) -> None:
    """The comparison is with the model that was given: an untrained one agrees with nothing."""
    arguments = ["--model", model, "--input", images, "--labels", images.parent / "labels.csv"]
    found = sparkq("evaluate", *arguments, "--float-model", "sparkq.demo.digits:DigitsNet", "--json")
    assert found.code == 0, found.err
    assert found.document["float_top1"] < 40 < 80 < found.document["top1"]
    assert found.document["accuracy_drop"] < 0
    assert found.document["sqnr_db"] < 10


def test_class_names_as_labels(spark: SparkSession, sparkq: Command, images: Path, model: Path, tmp_path: Path) -> None:
    """A CSV may say names where the artifact knows them; it may also name images that are not there."""
    names = digits_artifact().manifest.labels
    assert names is not None
    with (images.parent / "labels.csv").open() as stream:
        rows = [(images.parent / row["path"], names[int(row["label"])]) for row in csv.DictReader(stream)]
    labels = tmp_path / "names.csv"
    labels.write_text("path,label\n" + "".join(f"{path},{name}\n" for path, name in [*rows, ("absent.png", "one")]))
    by_name, by_index = (
        sparkq("evaluate", "--model", model, "--input", images, "--labels", path, "--json").document
        for path in (labels, images.parent / "labels.csv")
    )
    assert by_name == by_index


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--labels", "no_match.csv"], ("no_match.csv", "absent.png", "Hint: paths in the CSV are relative to the CSV file")),
        (["--labels", "absent.csv"], ("absent.csv", "Hint: check the path")),
        (["--labels", "names.csv"], ("names.csv", "line 2", "'platypus'")),
        (["--labels", "no_header.csv"], ("no_header.csv", "path and label")),
        (["--labels", "good.csv", "--input", "empty"], ("empty", "expected images")),
        (["--labels", "good.csv", "--input", "absent"], ("absent", "no such path")),
        (["--labels", "good.csv", "--float-model", "sparkq.demo.digits:Absent"], ("model", "'Absent'")),
        (
            ["--labels", "good.csv", "--float-model", "sparkq.demo.digits:DigitsNet", "--weights", "good.csv"],
            ("weights", "good.csv"),
        ),
    ],
    ids=[
        "no_match", "missing_labels", "unknown_class", "no_header", "empty_input", "missing_input", "missing_float_model",
        "wrong_weights",
    ],
)
def test_refused(
    spark: SparkSession, sparkq: Command, images: Path, model: Path, arguments: list[str], words: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One sentence and exit code 1."""
    monkeypatch.chdir(model.parent)
    Path("empty").mkdir()
    Path("no_match.csv").write_text("path,label\nabsent.png,0\n")
    Path("names.csv").write_text(f"path,label\n{images}/000.png,platypus\n")
    Path("no_header.csv").write_text(f"{images}/000.png,0\n")
    Path("good.csv").write_text(f"path,label\n{images}/000.png,0\n")
    given = ["--input", images] if "--input" not in arguments else []
    sparkq("evaluate", "--model", model, *given, *arguments).assert_refused(*words)


def test_engine_error_on_a_worker(spark: SparkSession, sparkq: Command, images: Path, model: Path) -> None:
    """The worker's sentence, as in ``predict``."""
    artifact = digits_artifact()
    golden = replace(artifact.manifest.golden, output=-artifact.manifest.golden.output)
    assert sqnr_of(artifact.manifest.golden.output, golden.output) < 0
    replace(artifact, manifest=replace(artifact.manifest, golden=golden)).save(str(model))
    found = sparkq("evaluate", "--model", model, "--input", images, "--labels", images.parent / "labels.csv")
    found.assert_refused("golden output", "Hint: this node computes wrong results")
