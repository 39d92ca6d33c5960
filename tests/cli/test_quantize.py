"""``sparkq quantize``: from a config file to an artifact, or one sentence and nothing written."""
from __future__ import annotations

import pickle
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import yaml
from pyspark.sql import SparkSession
from safetensors.torch import save_file

from sparkq.artifact.file import ModelArtifact
from sparkq.config import PreprocessConfig, QuantizationConfig, ResizeConfig
from sparkq.images.preprocess import preprocess_content
from sparkq.quantization import quantize
from sparkq.spark.calibration.prepare import spark_calibration
from sparkq.spark.input.sources import read_images
from sparkq.worker.predictor import Predictor
from tests.cli.conftest import Command, tree
from tests.models import SmallNet, digits_net

NETS = '''
    import torch
    from torch import nn
    from sparkq.demo.digits import DigitsNet

    def digits():
        return DigitsNet()

    def fails():
        raise OSError("no such disk")

    def no_model():
        return {"not": "a model"}

    class Branches(DigitsNet):
        def forward(self, x):
            return super().forward(x) if x.sum() > 0 else super().forward(-x)

    class Boxes(DigitsNet):
        def forward(self, x):
            return self.features(x)

    def branches():
        return Branches()

    def boxes():
        return Boxes()

    class Levels(torch.nn.Module):
        """Which of 20000 levels the image's brightness is nearest to: more than 8 bits can tell apart."""

        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(3, 20000)
            levels = torch.linspace(-1, 1, 20000)
            self.linear.weight.data = 2 * levels[:, None].expand(-1, 3) / 3
            self.linear.bias.data = -levels**2

        def forward(self, x):
            return self.linear(x.mean((2, 3)))

    def levels():
        return Levels()
'''
LABELS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


class Evil:
    """Its pickle makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.fixture
def job(images: Path, tmp_path: Path) -> Path:
    """A folder with all that a config file names: model code, weights, labels, images."""
    job = tmp_path / "job"
    (job / "photos").mkdir(parents=True)
    for image in sorted(images.iterdir())[:24]:
        (job / "photos" / image.name).write_bytes(image.read_bytes())
    (job / "nets.py").write_text(textwrap.dedent(NETS))
    (job / "labels.txt").write_text("\n".join(LABELS) + "\n")
    torch.save(digits_net().state_dict(), job / "weights.pt")
    return job


def _content(**changes: object) -> dict[str, object]:
    content: dict[str, object] = {
        "model": "nets.py:digits", "weights": "weights.pt", "task": "classification",
        "preprocess": {"resize": {"mode": "squash", "size": 32}, "mean": 0.5, "std": 0.25}, "labels": "labels.txt",
        "calibration": {"input": "photos", "images": 16}, "quantization": {"recipe": "static"}, "output": "out/digits.sparkq",
    }
    return {key: value for key, value in {**content, **changes}.items() if value is not None}


def _config(job: Path, content: dict[str, object]) -> Path:
    (job / "c.yaml").write_text(yaml.safe_dump(content))
    return job / "c.yaml"


def test_all_keys(spark: SparkSession, sparkq: Command, job: Path) -> None:
    """Every key of a config file, with paths relative to the file; the artifact says what they said."""
    found = sparkq("quantize", "--config", _config(job, _content()), "--json")
    assert found.code == 0, found.err
    artifact = ModelArtifact.load(str(job / "out" / "digits.sparkq"))
    manifest = artifact.manifest
    assert manifest.labels == tuple(LABELS)
    assert manifest.task == "classification"
    assert manifest.preprocess == PreprocessConfig(resize=ResizeConfig("squash", 32), mean=0.5, std=0.25)
    assert {name for name, origin in manifest.preprocess_origin.items() if origin == "given"} == {
        "resize.mode", "resize.size", "mean", "std",
    }
    assert (manifest.quantization.recipe, manifest.calibration_images) == ("static", 12)
    document = found.document
    assert document["preprocess_origin"] == manifest.preprocess_origin
    assert document["report"] is None
    assert document["output"] == str(job / "out" / "digits.sparkq")
    assert document["model_digest"] == artifact.digest
    assert document["artifact_bytes"] == (job / "out" / "digits.sparkq").stat().st_size
    assert [path.name for path in (job / "out").iterdir()] == ["digits.sparkq"]


def test_one_label_for_all(spark: SparkSession, sparkq: Command, job: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A network that loads its weights, and then gives every image the same label: logged, printed and in the report."""
    state = digits_net().state_dict()
    state["classifier.bias"] = state["classifier.bias"] + 1000 * torch.eye(10)[3]
    torch.save(state, job / "broken.pt")
    config = _config(job, _content(weights="broken.pt", calibration={"input": "photos", "images": 40}, report="r.html"))
    found = sparkq("quantize", "--config", config)
    assert found.code == 0, found.err
    said = "gives all {} images the same label (3, three), although it tells 10 apart"
    assert any("calibration: the float model gives all " in message for message in caplog.messages)
    count = ModelArtifact.load(str(job / "out" / "digits.sparkq")).manifest.calibration_images
    assert f"warning on the calibration images the artifact {said.format(count)}" in found.out
    page = (job / "r.html").read_text()
    assert f"the artifact {said.format(count)}" in page and page.count("<img") == 2 * min(24, count)


def _outputs(artifact: ModelArtifact, job: Path) -> npt.NDArray[np.float32]:
    images = [preprocess_content(path.read_bytes(), artifact.manifest.preprocess) for path in sorted((job / "photos").iterdir())]
    return Predictor(artifact).engine.run(np.stack(images))


def test_same_as_the_library(spark: SparkSession, sparkq: Command, job: Path) -> None:
    """The artifact is that of `sparkq.quantize` on the images that the gate does not hold out; options win."""
    changed = ["--calibration-images", "24", "--quantization-observer", "min_max", "--name", "mine", "--output", job / "x.sparkq"]
    found = sparkq("quantize", "--config", _config(job, _content(labels=None)), *changed)
    assert found.code == 0, found.err
    assert str(job / "x.sparkq") in found.out and "19 images" in found.out
    assert not (job / "out").exists()
    artifact = ModelArtifact.load(str(job / "x.sparkq"))
    assert (artifact.manifest.name, artifact.manifest.labels) == ("mine", None)
    config, preprocess = QuantizationConfig(observer="min_max"), artifact.manifest.preprocess
    with spark_calibration(read_images(spark, str(job / "photos")), preprocess, images=24) as found_images:
        assert len(found_images.held_out) == 5
        library = quantize(digits_net(), calibration=found_images.calibration, preprocess=preprocess, config=config)
    assert artifact.manifest.calibration_fingerprint == library.manifest.calibration_fingerprint
    assert np.array_equal(_outputs(artifact, job), _outputs(library, job))


def test_kinds_of_weights(spark: SparkSession, sparkq: Command, job: Path) -> None:
    """Safetensors, and a checkpoint that holds the state_dict under a key, give the same model as a bare state_dict."""
    state = digits_net().state_dict()
    save_file(state, job / "weights.safetensors")
    checkpoint = {"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}, "epoch": 3}
    torch.save(checkpoint, job / "checkpoint.pt")
    outputs = {}
    for kind in ("weights.pt", "weights.safetensors", "checkpoint.pt"):
        assert sparkq("quantize", "--config", _config(job, _content(weights=kind))).code == 0
        outputs[kind] = _outputs(ModelArtifact.load(str(job / "out" / "digits.sparkq")), job)
    assert [kind for kind, found in outputs.items() if not np.array_equal(found, outputs["weights.pt"])] == []


def test_effort(spark: SparkSession, sparkq: Command, job: Path) -> None:
    """It stands in for what the config file says, and the manifest says what was done."""
    found = sparkq("quantize", "--config", _config(job, _content(effort="best")), "--effort", "fast")
    assert found.code == 0, found.err
    config = ModelArtifact.load(str(job / "out" / "digits.sparkq")).manifest.quantization
    assert (config.rounding, config.observer) == ("nearest", "histogram")
    sparkq("quantize", "--config", _config(job, _content()), "--effort", "hasty").assert_refused("effort", "fast", "hasty")


def test_table_of_images(spark: SparkSession, sparkq: Command, job: Path) -> None:
    """``calibration.input`` may be Parquet with a binary column."""
    rows = [(bytearray(path.read_bytes()),) for path in (job / "photos").iterdir()]
    spark.createDataFrame(rows, "jpeg binary").coalesce(1).write.parquet(str(job / "table"))
    found = sparkq("quantize", "--config", _config(job, _content(calibration={"input": "table", "images": 9})), "--json")
    assert (found.code, found.document["calibration_images"]) == (0, 9)


def _spoil(job: Path) -> None:
    """Inputs that cannot be used, beside those that can."""
    (job / "empty").mkdir()
    (job / "text").mkdir()
    (job / "text" / "readme.txt").write_text("no image")
    (job / "nine.txt").write_text("\n".join(LABELS[:9]))
    torch.save(SmallNet().state_dict(), job / "foreign.pt")
    (job / "evil.pt").write_bytes(pickle.dumps({"weight": Evil(job / "executed")}))
    torch.save(digits_net(), job / "whole_model.pt")
    (job / "truncated.pt").write_bytes((job / "weights.pt").read_bytes()[:5000])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"wieghts": "weights.pt"}, ("c.yaml", "'wieghts'", "did you mean 'weights'", "valid keys: ", "calibration")),
        ({"calibration": {"input": "photos", "imgs": 3}}, ("calibration", "'imgs'", "valid keys: input, images")),
        ({"model": None}, ("c.yaml", "'model'")),
        ({"task": "segmentation"}, ("task", "classification", "'segmentation'")),
        ({"calibration": {"input": "empty"}}, ("empty", "expected images")),
        ({"calibration": {"input": "absent"}}, ("absent", "no such path")),
        ({"calibration": {"input": "text"}}, ("calibration", "expected at least one image")),
        ({"labels": "absent.txt"}, ("labels", "absent.txt")),
        ({"labels": "nine.txt"}, ("labels", "10", "9")),
        ({"weights": "absent.pt"}, ("weights", "absent.pt")),
        ({"weights": "foreign.pt"}, ("weights", "foreign.pt", "DigitsNet", "missing")),
        ({"weights": "evil.pt"}, ("weights", "evil.pt", "weights_only=True")),
        ({"weights": "whole_model.pt"}, ("weights", "whole_model.pt", "state_dict")),
        ({"weights": "truncated.pt"}, ("weights", "truncated.pt")),
        ({"weights": "labels.txt"}, ("weights", "labels.txt")),
        ({"model": "absent.py:digits"}, ("model", "absent.py")),
        ({"model": "no_such_module:make"}, ("model", "no_such_module")),
        ({"model": "nets.py:absent"}, ("model", "'absent'")),
        ({"model": "nets.py"}, ("model", "module:factory")),
        ({"model": "nets.py:fails"}, ("model", "no such disk")),
        ({"model": "nets.py:no_model"}, ("model", "torch.nn.Module", "dict")),
        ({"model": "nets.py:branches"}, ("Branches", "trace")),
        ({"model": "nets.py:boxes"}, ("model", "[N, classes]", "4, 4]")),
        (
            {"preprocess": {"resize": {"mode": "shorter_side", "size": 32}, "mean": 0.5, "std": 0.25}},
            ("preprocess.crop", "shorter_side"),
        ),
        ({"preprocess": {"resize": {"mode": "squash", "size": 32}}}, ("mean, std", "--preprocess-mean, --preprocess-std")),
        ({"output": "nets.py/digits.sparkq"}, ("artifact", "nets.py/digits.sparkq")),
    ],
    ids=[
        "unknown_key", "unknown_key_in_group", "missing_key", "unknown_task", "empty_calibration", "missing_calibration",
        "calibration_without_images", "missing_labels", "too_few_labels", "missing_weights", "weights_that_do_not_fit",
        "pickle_with_code", "pickled_model", "truncated_weights", "text_as_weights", "missing_model_file", "missing_module",
        "missing_factory", "no_factory", "factory_fails", "factory_gives_no_model", "model_that_cannot_be_traced",
        "output_of_another_shape", "no_crop", "no_mean_and_std",
        "output_below_a_file",
    ],
)
def test_refused(
    spark: SparkSession, sparkq: Command, job: Path, changes: dict[str, object], words: tuple[str, ...],
) -> None:
    """One sentence, exit code 1, and the folder is as it was: no artifact, no temporary file, no code of a pickle run."""
    _spoil(job)
    config = _config(job, _content(**changes))
    before = tree(job)
    sparkq("quantize", "--config", config).assert_refused(*words)
    after = {name: data for name, data in tree(job).items() if "__pycache__" not in name}
    assert after == before
    assert not (job / "out").exists()


@pytest.mark.parametrize(("option", "value", "said"), [
    ("--min-agreement", "98", "share from 0 to 1"), ("--max-accuracy-drop", "-1", "at least 0"),
    ("--evaluation", "photos", "together"),
])
def test_what_the_gate_cannot_ask(sparkq: Command, job: Path, option: str, value: str, said: str) -> None:
    """Said before Spark starts."""
    found = sparkq("quantize", "--config", _config(job, _content()), option, value)
    assert found.code == 1 and said in found.err
    assert not (job / "out").exists()


def test_gate_on_labelled_images(spark: SparkSession, sparkq: Command, job: Path) -> None:
    """Measured on Spark, shown as a table, kept in the manifest."""
    files = sorted((job / "photos").iterdir())
    rows = [f"photos/{file.name},{index % 10}" for index, file in enumerate(files)]
    (job / "truth.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    gate = ["--evaluation", job / "photos", "--evaluation-labels", job / "truth.csv", "--max-accuracy-drop", "100"]
    found = sparkq("quantize", "--config", _config(job, _content()), *gate, "--json")
    assert found.code == 0, found.err
    (attempt,) = found.document["attempts"]
    assert attempt["recipe"] == "static" and attempt["measured"]["images"] == len(files)
    accuracy = ModelArtifact.load(str(job / "out" / "digits.sparkq")).manifest.accuracy
    assert accuracy["top1"] == attempt["measured"]["top1"] and accuracy["accuracy_drop"] == attempt["measured"]["accuracy_drop"]
    assert found.document["calibration_images"] == 16


def test_report(spark: SparkSession, sparkq: Command, job: Path) -> None:
    """Beside the artifact, of the images that it was calibrated on; the path is relative to the config file."""
    found = sparkq("quantize", "--config", _config(job, _content(report="out/report.html")))
    assert found.code == 0, found.err
    assert f"report  {job / 'out' / 'report.html'}" in found.out
    page = (job / "out" / "report.html").read_text()
    manifest = ModelArtifact.load(str(job / "out" / "digits.sparkq")).manifest
    for fact in (manifest.payload_sha256, manifest.calibration_fingerprint, "features.4", "DigitsNet", "class=\"chosen\""):
        assert fact in page
    assert sorted(path.name for path in (job / "out").iterdir()) == ["digits.sparkq", "report.html"]


def test_report_of_a_refusal(spark: SparkSession, sparkq: Command, job: Path) -> None:
    """It holds the attempts and is named in the message; there is no artifact."""
    content = _content(
        model="nets.py:levels", weights=None, labels=None, report="out/report.html", name="<b>levels</b>", min_agreement=0.98,
    )
    found = sparkq("quantize", "--config", _config(job, content), "--json")
    assert found.code == 1 and found.document["error"]["type"] == "GateError"
    assert str(job / "out" / "report.html") in found.document["error"]["message"]
    assert [path.name for path in (job / "out").iterdir()] == ["report.html"]
    page = (job / "out" / "report.html").read_text()
    assert "Nothing was written." in page and "static" in page
    assert "&lt;b&gt;levels&lt;/b&gt;" in page and "<b>" not in page


def test_report_that_cannot_be_made(sparkq: Command, job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said before Spark starts and before the model is loaded."""
    config = _config(job, _content(model="absent.py:digits"))
    sparkq("quantize", "--config", config, "--report", "digits.sparkq").assert_refused("report", "FILE.html", "digits.sparkq")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    missing = sparkq("quantize", "--config", config, "--report", "x.html")
    missing.assert_refused("matplotlib", "Hint: pip install 'sparkq[report]'")
    assert not (job / "out").exists()


def test_an_embedding(spark: SparkSession, sparkq: Command, job: Path) -> None:
    """From the config file through gate and report to what inspect and evaluate say of it; without its head."""
    config = _config(job, _content(task="embedding", labels=None, report="r.html", calibration={"input": "photos", "images": 24}))
    found = sparkq("quantize", "--config", config, "--min-cosine", "0.98", "--json")
    assert found.code == 0, found.err
    document = found.document
    assert (document["task"], document["output_length"], document["embedding_layer"]) == ("embedding", 64, "mean")
    assert document["accuracy"]["mean_cosine"] > 0.98 and "cosine" in document["table"] and document["name"] == "DigitsNet"
    page = (job / "r.html").read_text()
    assert "64 numbers of layer mean" in page and "mean cosine similarity of at least 0.98" in page and "classifier" not in page
    model = job / "out" / "digits.sparkq"
    assert "embedding, 64 numbers of layer mean" in sparkq("inspect", "--model", model).out
    against = ["--float-model", f"{job / 'nets.py'}:digits", "--weights", job / "weights.pt"]
    measured = sparkq("evaluate", "--model", model, "--input", job / "photos", *against)
    assert measured.code == 0 and "24 images, 0 errors\ncosine  " in measured.out, measured.err
    sparkq("evaluate", "--model", model, "--input", job / "photos").assert_refused("float_model", "embeddings", "Hint")
    sparkq("evaluate", "--model", model, "--input", job / "photos", "--labels", "l.csv", *against).assert_refused(
        "labels: expected none", "task embedding", "Hint",
    )


@pytest.mark.parametrize(("changes", "words"), {
    "labels": ({}, ("labels: expected none with task embedding",)),
    "an unknown layer": ({"labels": None, "embedding_layer": "feature"}, ("embedding_layer", "Hint: near ones are features")),
    "a cosine in percent": ({"labels": None, "min_cosine": 99}, ("min_cosine: expected a cosine",)),
    "a layer of a classification": ({"task": "classification", "embedding_layer": "features"}, ("expected it with task",)),
    "an unknown task": ({"task": "segmentation"}, ("task: expected one of classification, embedding",)),
}.values())
def test_embeddings_refused(sparkq: Command, job: Path, changes: dict[str, object], words: tuple[str, ...]) -> None:
    """Before Spark is started, and nothing is written."""
    content = {**_content(task="embedding"), **changes}
    given = {key: value for key, value in content.items() if value is not None}
    sparkq("quantize", "--config", _config(job, given)).assert_refused(*words)
    assert not (job / "out").exists()
