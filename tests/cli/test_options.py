"""Keys of a config file and options of the command line: the same ones, and options win."""
from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from sparkq.cli.evaluate import EvaluateOptions
from sparkq.cli.options import add_options, options_from
from sparkq.cli.plan import PlanOptions
from sparkq.cli.predict import PredictOptions
from sparkq.cli.quantize import QuantizeOptions
from sparkq.config import CalibrationConfig, PreprocessOverrides, QuantizationConfig
from sparkq.config.preprocess import ResizeOverrides
from sparkq.errors import ConfigError, InputError
from tests.cli.conftest import Command

REQUIRED = ["--model", "m.sparkq", "--input", "photos", "--output", "out"]
PREDICT = {"model": "m.sparkq", "input": "photos", "output": "out"}
QUANTIZE = {
    "model": "timm:resnet18", "weights": "w.safetensors", "task": "classification", "labels": "labels.txt", "output": "m.sparkq",
    "preprocess": {
        "resize": {"mode": "squash", "size": [227, 229]}, "channel_order": "BGR", "rescale": 1, "mean": [104, 117, 123],
    },
    "calibration": {"input": "photos", "images": 64}, "quantization": {"recipe": "static", "observer": "min_max"},
}


def _parse(kind: type, *arguments: object) -> Any:
    parser = argparse.ArgumentParser()
    add_options(parser, kind)
    return options_from(kind, parser.parse_args([str(argument) for argument in arguments]))


def _config(folder: Path, content: object) -> Path:
    path = folder / "c.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("command", "options"),
    [
        (
            "quantize",
            "--config --json --model --weights --task --labels --output --master --calibration-input --calibration-images "
            "--quantization-recipe --preprocess-resize-mode --preprocess-resize-size --preprocess-crop "
            "--preprocess-interpolation --preprocess-channel-order --preprocess-rescale --preprocess-mean --preprocess-std",
        ),
        ("predict", "--config --json --model --input --output --engine --batch-size --top-k --master"),
        ("evaluate", "--config --json --model --input --labels --float-model --weights --master"),
        ("inspect", "--json --model"),
        ("demo", "--json --output"),
    ],
)
def test_options_that_users_rely_on(
    command: str, options: str, sparkq: Command, capsys: pytest.CaptureFixture[str],
) -> None:
    """Each is in the command's help, with a description."""
    with pytest.raises(SystemExit) as caught:
        sparkq(command, "--help")
    assert caught.value.code == 0
    words = capsys.readouterr().out.split()
    assert [option for option in options.split() if option not in words] == []


def test_config_file_and_options_say_the_same(tmp_path: Path) -> None:
    """All keys as YAML, and all as options."""
    # Absolute, as options are relative to the working directory and the file's paths to the file.
    paths = {key: str(tmp_path / str(QUANTIZE[key])) for key in ("weights", "labels", "output")}
    content = {**QUANTIZE, **paths, "calibration": {"input": str(tmp_path / "photos"), "images": 64}}
    from_file = _parse(QuantizeOptions, "--config", _config(tmp_path, content))
    from_options = _parse(
        QuantizeOptions, "--model", "timm:resnet18", "--task", "classification", "--weights", paths["weights"],
        "--labels", paths["labels"], "--output", paths["output"], "--preprocess-resize-mode", "squash",
        "--preprocess-resize-size", "[227, 229]", "--preprocess-channel-order", "BGR", "--preprocess-rescale", "1",
        "--preprocess-mean", "[104, 117, 123]", "--calibration-input", tmp_path / "photos", "--calibration-images", "64",
        "--quantization-recipe", "static", "--quantization-observer", "min_max",
    )
    assert from_file == from_options
    assert from_file.preprocess == PreprocessOverrides(
        resize=ResizeOverrides("squash", (227, 229)), channel_order="BGR", rescale=1, mean=(104, 117, 123),
    )
    assert from_file.calibration == CalibrationConfig(str(tmp_path / "photos"), images=64)
    assert from_file.quantization == QuantizationConfig(recipe="static", observer="min_max")


@pytest.mark.parametrize(
    ("content", "arguments", "key", "value"),
    [
        ({"top_k": 3}, ["--top-k", "2"], "top_k", 2),
        ({"overwrite": True}, ["--no-overwrite"], "overwrite", False),
        ({}, ["--overwrite"], "overwrite", True),
        ({"engine": "float32"}, ["--engine", "fbgemm"], "engine", "fbgemm"),
        ({"model": "elsewhere.sparkq"}, [], "model", "m.sparkq"),
        ({"top_k": 3}, [], "top_k", 3),
        ("", [], "batch_size", 16),
    ],
    ids=["number", "switch_off", "switch_on", "text", "required", "file_alone", "empty_file"],
)
def test_options_win_over_the_file(tmp_path: Path, content: object, arguments: list[str], key: str, value: object) -> None:
    """What is not given on the command line comes from the file, what is in neither from the default."""
    found = _parse(PredictOptions, "--config", _config(tmp_path, content), *REQUIRED, *arguments)
    assert getattr(found, key) == value


def test_option_inside_a_group_keeps_the_rest(tmp_path: Path) -> None:
    """``--calibration-images`` changes one key of ``calibration`` and of nothing else."""
    path = _config(tmp_path, QUANTIZE)
    found = _parse(QuantizeOptions, "--config", path, "--calibration-images", "7", "--preprocess-resize-size", "256")
    assert (found.calibration.images, found.calibration.input) == (7, str(tmp_path / "photos"))
    assert found.preprocess.resize == ResizeOverrides("squash", 256)
    assert found.preprocess.channel_order == "BGR"


def test_paths_in_a_file_are_relative_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the command is started; paths given as options are relative to where it is started."""
    (tmp_path / "job").mkdir()
    monkeypatch.chdir(tmp_path / "job")
    content = {**QUANTIZE, "model": "nets/net.py:make", "output": "s3://bucket/m.sparkq", "labels": "/data/labels.txt"}
    found = _parse(QuantizeOptions, "--config", _config(tmp_path, content), "--weights", "here.pt")
    assert found.model == f"{tmp_path}/nets/net.py:make"
    assert found.calibration.input == f"{tmp_path}/photos"
    assert (found.weights, found.output, found.labels) == ("here.pt", "s3://bucket/m.sparkq", "/data/labels.txt")
    monkeypatch.chdir(tmp_path)
    assert _parse(QuantizeOptions, "--config", "c.yaml").calibration.input == f"{tmp_path}/photos"


@pytest.mark.parametrize("spec", ["timm:resnet18", "torchvision:resnet50", "my_models.nets:make"])
def test_names_of_models_are_no_paths(tmp_path: Path, spec: str) -> None:
    """Only a ``.py`` file is one."""
    assert _parse(QuantizeOptions, "--config", _config(tmp_path, {**QUANTIZE, "model": spec})).model == spec


def test_text_stays_text() -> None:
    """A name that YAML would read as a number or as nothing."""
    found = _parse(EvaluateOptions, "--model", "2024", "--input", "null", "--labels", "1e3", "--glob", "*.[jJ]*")
    assert (found.model, found.input, found.labels, found.glob) == ("2024", "null", "1e3", "*.[jJ]*")


@pytest.mark.parametrize(
    ("kind", "content", "words"),
    [
        (PredictOptions, {"modle": "m"}, ["c.yaml", "'modle'", "did you mean 'model'", "valid keys: model, input, output, "]),
        (QuantizeOptions, {**QUANTIZE, "calibration": {"input": "p", "count": 3}}, ["calibration", "'count'", "input, images"]),
        (
            QuantizeOptions, {**QUANTIZE, "preprocess": {"resize": {"mod": "squash"}}},
            ["preprocess: resize", "'mod'", "mode, size"],
        ),
        (PredictOptions, {"model": "m", "input": "i"}, ["c.yaml", "'output'", "required keys: model, input, output"]),
        (PredictOptions, {"model": 7, "input": "i", "output": "o"}, ["model", "expected text", "7"]),
        (PredictOptions, {**PREDICT, "top_k": "many"}, ["top_k", "whole number", "'many'"]),
        (PredictOptions, {**PREDICT, "overwrite": "yes please"}, ["overwrite", "true or false"]),
        (PredictOptions, {**PREDICT, "batch_size": 0}, ["batch_size", "at least 1", "0"]),
        (PredictOptions, {**PREDICT, "engine": "tpu"}, ["engine", "fbgemm", "'tpu'"]),
        (QuantizeOptions, {**QUANTIZE, "task": "poetry"}, ["task", "classification", "'poetry'"]),
        (QuantizeOptions, {**QUANTIZE, "quantization": {"recipe": "magic"}}, ["quantization.recipe", "static", "'magic'"]),
        (QuantizeOptions, {**QUANTIZE, "calibration": "photos"}, ["calibration", "keys and values", "photos"]),
        (PredictOptions, "- a\n- b\n", ["c.yaml", "keys and values", "list"]),
        (PredictOptions, "model: [unclosed", ["c.yaml", "YAML"]),
        (PredictOptions, "just text", ["c.yaml", "keys and values"]),
        (PredictOptions, "model: !!python/object/apply:os.getcwd []", ["c.yaml", "YAML"]),
    ],
    ids=[
        "unknown_key", "unknown_key_in_group", "unknown_key_in_group_of_group", "missing_key", "number_for_path",
        "text_for_number", "text_for_switch", "zero", "unknown_engine", "unknown_task", "unknown_recipe", "text_for_group",
        "list", "no_yaml", "text", "python_object",
    ],
)
def test_wrong_config_files(tmp_path: Path, kind: type, content: object, words: list[str]) -> None:
    """One sentence that names the file or key, and lists the valid ones."""
    with pytest.raises(ConfigError) as caught:
        _parse(kind, "--config", _config(tmp_path, content))
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--top-k", "five"], ["top_k", "whole number", "'five'"]),
        (["--top-k", "[1"], ["--top-k", "'[1'"]),
        (["--batch-size", "1.5"], ["batch_size", "whole number", "1.5"]),
        (["--engine", "tpu"], ["engine", "'tpu'"]),
    ],
    ids=["word_for_number", "no_yaml", "fraction", "unknown_engine"],
)
def test_wrong_options(arguments: list[str], words: list[str]) -> None:
    """The same sentences for values on the command line."""
    with pytest.raises(ConfigError) as caught:
        _parse(PredictOptions, *REQUIRED, *arguments)
    for word in words:
        assert word in str(caught.value)


def test_missing_config_file(tmp_path: Path) -> None:
    """It is named."""
    with pytest.raises(InputError, match="nothing.yaml"):
        _parse(PredictOptions, "--config", tmp_path / "nothing.yaml")


WHAT_BECOMES_OF_THE_ROWS = {
    "output", "run_id", "resume", "max_error_rate", "quarantine", "quarantine_bytes", "partition_by", "overwrite", "drift_sample",
    "quiet",
}
"""Options of ``sparkq predict`` that say where rows go and what is done beside predicting them."""


def test_plan_takes_what_predict_takes() -> None:
    """All that says which images are predicted, by which model and how, under the same names and with the same defaults."""
    predict, plan = ({entry.name: entry for entry in dataclasses.fields(kind)} for kind in (PredictOptions, PlanOptions))
    assert set(predict) - set(plan) == WHAT_BECOMES_OF_THE_ROWS
    assert set(plan) - set(predict) == {"instance", "nodes"}
    assert all(plan[name].default == predict[name].default for name in set(plan) & set(predict))


@pytest.mark.parametrize("arguments", [
    ["--uri-column", "uri"], ["--uri-column", "uri", "--input-format", "parquet"], ["--same-everywhere"], ["--top-k", "0"],
    ["--max-image-bytes", "0"], ["--read", "nobody"], ["--engine", "tpu"],
    ["--input-format", "uri", "--uri-column", "uri", "--content-column", "content"],
], ids=" ".join)
def test_plan_refuses_what_predict_refuses(arguments: list[str]) -> None:
    """In the same words: a plan for a job that cannot be run is worse than none."""
    refusals = []
    for kind, required in ((PlanOptions, REQUIRED[:4]), (PredictOptions, REQUIRED)):
        with pytest.raises(ConfigError) as caught:
            _parse(kind, *required, *arguments)
        refusals.append(str(caught.value))
    assert refusals[0] == refusals[1]


def test_an_option_is_defined_and_described_once() -> None:
    """Predicting, planning and evaluating take the same options from the same classes, so that no text says otherwise."""
    homes: dict[str, set[type]] = {}
    for kind in (PredictOptions, PlanOptions, EvaluateOptions):
        for entry in dataclasses.fields(kind):
            defined = {home for home in kind.__mro__ if entry.name in vars(home).get("__annotations__", {})}
            homes.setdefault(entry.name, set()).update(defined)
    assert {name: found for name, found in homes.items() if len(found) != 1} == {}
    assert len(homes) > 25
    for name, (home,) in homes.items():
        described = {
            base for kind in (PredictOptions, PlanOptions, EvaluateOptions) for base in kind.__mro__
            if f"\n    {name} : " in (base.__doc__ or "")
        }
        assert described == {home}, name
