"""What can be known without Spark is said before Spark is started."""
from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Command


@pytest.fixture(autouse=True)
def no_spark(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that comes to start Spark ends with an error that none of these tests expects."""
    monkeypatch.setattr("sparkq.spark.session.session.session_for", _started)


def _started(*arguments: object, **options: object) -> None:
    raise AssertionError("Spark was started")


FACTORY = "from torch import nn\n\ndef make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 10))\n"


@pytest.mark.parametrize("command", ["predict", "plan", "evaluate"])
@pytest.mark.parametrize(("wrong", "words"), [
    ("model", ["nothing.sparkq"]), ("input", ["nowhere", "expected images; got no such path"]),
])
def test_a_wrong_place(
    sparkq: Command, model: Path, images: Path, tmp_path: Path, command: str, wrong: str, words: list[str],
) -> None:
    """Of the model or the images."""
    places = {"model": model, "input": images} | {wrong: tmp_path / ("nothing.sparkq" if wrong == "model" else "nowhere")}
    labels = images.parent / "labels.csv"
    more = {"predict": ["--output", tmp_path / "out"], "plan": [], "evaluate": ["--labels", labels]}[command]
    sparkq(command, "--model", places["model"], "--input", places["input"], *more).assert_refused(*words)
    assert not (tmp_path / "out").exists()


def test_an_output_in_the_input_and_one_around_it(sparkq: Command, model: Path, images: Path) -> None:
    """Either would be the input of the next job."""
    for output in (images / "out", images.parent):
        sparkq("predict", "--model", model, "--input", images, "--output", output).assert_refused("apart from the input")


@pytest.mark.parametrize("option", ["--output", "--quarantine"])
def test_an_output_that_cannot_be_written(sparkq: Command, model: Path, images: Path, tmp_path: Path, option: str) -> None:
    """Below a file, and where the kernel lets nobody write."""
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "out", Path("/proc/sparkq")):
        outputs = {"--output": tmp_path / "out", option: place}
        arguments = [part for pair in outputs.items() for part in pair]
        sparkq("predict", "--model", model, "--input", images, *arguments).assert_refused(str(place), "expected a writable place")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_labels_of_another_model(sparkq: Command, model: Path, images: Path, tmp_path: Path) -> None:
    """A class that an artifact has not; more names than a float model has outputs."""
    (tmp_path / "labels.csv").write_text("path,label\na.png,99\n")
    sparkq("evaluate", "--model", model, "--input", images, "--labels", tmp_path / "labels.csv").assert_refused("99")
    (tmp_path / "net.py").write_text(FACTORY)
    (tmp_path / "names.txt").write_text("\n".join(map(str, range(11))))
    float_model = [
        "--model", f"{tmp_path}/net.py:make", "--preprocess-resize-size", "8", "--preprocess-resize-mode", "squash",
        "--preprocess-mean", "0", "--preprocess-std", "1",
    ]
    quantize = ["quantize", *float_model, "--calibration-input", images, "--output", tmp_path / "net.sparkq"]
    sparkq(*quantize, "--labels", tmp_path / "names.txt").assert_refused("expected 10 names", "got 11")
    sparkq(*quantize[:-1], "/proc/net.sparkq").assert_refused("expected a writable place")
    quantize[quantize.index(images)] = tmp_path / "nowhere"
    sparkq(*quantize).assert_refused("nowhere", "expected images; got no such path")


@pytest.mark.parametrize(("option", "place", "words"), [
    ("--input", "nowhere", "expected images; got no such path"), ("--output", "/proc/sheet.html", "expected a writable place"),
])
def test_a_preview(sparkq: Command, images: Path, tmp_path: Path, option: str, place: str, words: str) -> None:
    """Before the model, which may take long to load, is looked for."""
    arguments = {"--model": tmp_path / "nothing.sparkq", "--input": images, "--output": tmp_path / "s.html"}
    arguments[option] = Path(place)
    sparkq("preview", *(part for pair in arguments.items() for part in pair)).assert_refused(words)
