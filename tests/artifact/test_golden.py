"""Artifacts that earlier commits wrote: read and run as on the day they were written, or refused with what to do."""
from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from sparkq.artifact.file import PROTOCOL, ModelArtifact
from sparkq.config import MODEL_TASKS
from sparkq.errors import ArtifactProtocolError
from sparkq.worker.predictor import Predictor
from tests import ROOT

GOLDEN = Path(__file__).with_name("golden")
READ = sorted(path for path in GOLDEN.glob("*.sparkq") if int(re.findall(r"protocol(\d+)", path.name)[0]) >= 3)
REFUSED = sorted(set(GOLDEN.glob("*.sparkq")) - set(READ))
DIGESTS = {
    "classification_protocol3.sparkq": "361529ce45c3ad0759fa51ff1b961c6a67474916fdf4f7c5e7cacfaa8cd9d5b7",
}


def test_there_is_one_of_each_model_task_and_of_each_protocol() -> None:
    """Small enough to be kept in the repository."""
    assert {path.name for path in READ} >= {f"{task}_protocol{PROTOCOL}.sparkq" for task in MODEL_TASKS}
    numbers = {int(re.findall(r"protocol(\d+)", path.name)[0]) for path in GOLDEN.glob("*.sparkq")}
    assert numbers == set(range(1, PROTOCOL + 1))
    assert all(path.stat().st_size < 60_000 for path in GOLDEN.glob("*.sparkq"))


@pytest.mark.parametrize("path", READ, ids=lambda path: path.stem)
def test_read_and_run(path: Path) -> None:
    """The manifest says what it said, and the payload answers the golden input as the file remembers."""
    artifact = ModelArtifact.load(str(path))
    manifest = artifact.manifest
    assert path.name.startswith(manifest.task) and manifest.name.startswith("golden")
    assert DIGESTS.get(path.name, artifact.digest) == artifact.digest == manifest.payload_sha256
    predictor = Predictor(artifact)
    golden = manifest.golden.input(manifest.input_size)[np.newaxis]
    answered = predictor.run_rows(golden, batch_size=1)
    assert not answered.failures and np.isfinite(answered.outputs).all()
    parts = np.concatenate(predictor.model_task.golden_parts(answered.outputs[0]))
    np.testing.assert_allclose(parts, manifest.golden.output, atol=0.05 * np.abs(manifest.golden.output).max())


@pytest.mark.parametrize("path", REFUSED, ids=lambda path: path.stem)
def test_refused_with_the_command_that_makes_it_anew(path: Path) -> None:
    """One sentence with both numbers."""
    number = re.findall(r"protocol(\d+)", path.name)[0]
    with pytest.raises(ArtifactProtocolError, match=rf"protocol {PROTOCOL}.*{number}") as caught:
        ModelArtifact.load(str(path))
    assert caught.value.hint is not None and "sparkq quantize" in caught.value.hint


def test_the_page_tells_of_every_protocol() -> None:
    """Its table of golden files and its numbers are those of the code."""
    page = (ROOT / "sparkq" / "FORMATS.md").read_text(encoding="utf-8")
    assert f"`artifact/manifest.py`, now {PROTOCOL}" in page
    for name in re.findall(r"`([\w/]+\.py)`", page):
        if "protocol" not in name:
            assert (ROOT / name).exists() or (ROOT / "sparkq" / name).exists(), name
