"""``--model-sha256``: every command that reads an artifact refuses another file than the one that is pinned."""
from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.cli.conftest import Command

# Without Spark: the artifact is read before a session is started.
COMMANDS = {
    "inspect": [], "doctor": [], "plan": ["--input", "IMAGES"], "evaluate": ["--input", "IMAGES", "--labels", "LABELS"],
    "benchmark": ["--parts", "engine"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_another_file_is_refused(sparkq: Command, model: Path, images: Path, command: str) -> None:
    """With both sums, before anything else is done."""
    found = hashlib.sha256(model.read_bytes()).hexdigest()
    places = {"IMAGES": str(images), "LABELS": str(images.parent / "labels.csv")}
    options = [places.get(option, option) for option in COMMANDS[command]]
    sparkq(command, "--model", model, *options, "--model-sha256", "0" * 64).assert_refused(
        str(model), "expected a file with sha256 " + "0" * 64, f"got {found}", "sha256sum",
    )
    sparkq(command, "--model", model, *options, "--model-sha256", "abc").assert_refused("64 hexadecimal digits", "abc")


def test_the_pinned_file_is_taken(sparkq: Command, model: Path) -> None:
    """As ``sha256sum`` prints it."""
    found = hashlib.sha256(model.read_bytes()).hexdigest()
    assert sparkq("inspect", "--model", model, "--model-sha256", found).code == 0


@pytest.mark.parametrize(("command", "options"), [("doctor", []), ("benchmark", ["--model", "torchvision:resnet18"])])
def test_a_pin_without_a_file(sparkq: Command, command: str, options: list[str]) -> None:
    """It would pin nothing."""
    sparkq(command, *options, "--model-sha256", "0" * 64).assert_refused("model_sha256: expected a", "got")
