"""What the Tab key offers, in a real bash."""
from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from sparkq.cli import main
from sparkq.cli.completion import CHOICES, SHELLS
from sparkq.cli.predict import PredictOptions
from sparkq.cli.quantize import QuantizeOptions
from sparkq.errors import ConfigError
from tests.cli.test_options import PREDICT, _parse

TYPED = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _shtab_sparkq; printf "%s\\n" "${COMPREPLY[@]}"'


def _script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(["--print-completion", shell])
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on this machine")
@pytest.mark.parametrize(("words", "offered"), [
    (["pred"], {"predict"}),
    (["predict", "--max-image-"], {"--max-image-bytes", "--max-image-pixels"}),
    (["predict", "--engine", "o"], {"onednn", "openvino"}),
    (["predict", "--read", "w"], {"workers"}),
    (["quantize", "--quantization-recipe", ""], {"static", "mixed", "dynamic", "none"}),
    (["predict", "--model", "resnet"], {"resnet50.sparkq"}),
], ids=lambda value: " ".join(sorted(value)))
def test_bash(words: list[str], offered: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "resnet50.sparkq").touch()
    script = tmp_path / "completion.bash"
    script.write_text(_script("bash", capsys))
    done = subprocess.run(
        ["bash", "-c", TYPED, "bash", str(script), "sparkq", *words], cwd=tmp_path, capture_output=True, text=True, check=True,
    )
    assert set(done.stdout.split()) - {"completion.bash"} == offered, done.stderr


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_knows_every_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    script = _script(shell, capsys)
    for word in ("quantize", "predict", "doctor", "--max-error-rate", "openvino"):
        assert word.removeprefix("--") in script


@pytest.mark.parametrize("flag", CHOICES)
def test_choices_are_those_that_are_taken(flag: str) -> None:
    """Each word offered is accepted, by the commands that have the option."""
    required = [part for key, value in PREDICT.items() for part in (f"--{key}", value)]
    kind = PredictOptions if flag in ("--engine", "--input-format", "--read") else QuantizeOptions
    if kind is QuantizeOptions:
        required = ["--model", "timm:resnet18", "--output", "m.sparkq", "--calibration-input", "photos"]
        required += ["--preprocess-resize-mode", "squash", "--preprocess-resize-size", "32", "--preprocess-crop", "32"]
    for word in CHOICES[flag]:
        _parse(kind, *required, flag, word)
    with pytest.raises(ConfigError, match=f"{CHOICES[flag][-1]}; got 'nothing'"):
        _parse(kind, *required, flag, "nothing")
