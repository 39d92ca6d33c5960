"""Artifacts that earlier commits wrote: read and run as on the day they were written, or refused with what to do."""
from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from sparkq.artifact.file import PROTOCOL, ModelArtifact
from sparkq.config import MODEL_TASKS
from sparkq.errors import ArtifactProtocolError
from sparkq.program.interpreter import interpret
from sparkq.worker.predictor import Predictor
from tests import ROOT

GOLDEN = Path(__file__).with_name("golden")
READ = sorted(path for path in GOLDEN.glob("*.sparkq") if path.stem.endswith(f"protocol{PROTOCOL}"))
REFUSED = sorted(set(GOLDEN.glob("*.sparkq")) - set(READ))
DIGESTS = {
    "classification_protocol4.sparkq": "c3f37aeb8abeb03d7dd72f9bde747731273e021ff0388ca2322efed517966836",
    "detection_protocol4.sparkq": "15bb5d907347ace5b7ae2c8f917598872ba2903228c9fb1dfe247e3155833da9",
    "embedding_protocol4.sparkq": "cf9ea29b1230620ce24eb5c8218785080054b5fb4a28032fc9c8d81bdd124cdb",
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
    assert DIGESTS[path.name] == artifact.digest == manifest.payload_sha256
    predictor = Predictor(artifact)
    golden = manifest.golden.input(manifest.input_size)[np.newaxis]
    answered = predictor.run_rows(golden, batch_size=1)
    assert not answered.failures and np.isfinite(answered.outputs).all()
    # The second is what the format means, whatever becomes of torch.
    for output in (answered.outputs[0], interpret(artifact.program(), golden)[0]):
        parts = np.concatenate(predictor.model_task.golden_parts(output))
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


def test_the_page_tells_of_every_key_of_a_program() -> None:
    """As the golden files have them."""
    page = (ROOT / "sparkq" / "FORMATS.md").read_text(encoding="utf-8")
    payload = ModelArtifact.load(str(READ[0])).payload
    header = json.loads(payload[8:8 + int.from_bytes(payload[:8], "little")])
    graph = json.loads(header["__metadata__"]["program"])
    keys = {"program", "__metadata__", *graph, *(key for node in graph["nodes"] for key in node)}
    dtypes = {tensor["dtype"] for name, tensor in header.items() if name != "__metadata__"}
    assert len(keys) > 8 and len(dtypes) > 2
    assert {name for name in keys | dtypes if f"`{name}`" not in page} == set()
