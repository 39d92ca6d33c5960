"""An archive of code where a program should be is refused by every engine, whatever way it comes; no file is touched."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sparkq.engines.base import LoadOptions
from sparkq.engines.load import load_engine
from sparkq.errors import ArtifactFormatError
from sparkq.worker.engine_choice import choose_engine
from sparkq.worker.predictor import Predictor
from tests.hostile_payloads import HOSTILE, hostile_payload, with_payload

ENGINES = ("fbgemm", "x86", "onednn", "openvino", "float32", "bfloat16")
IMAGES = np.zeros((1, 32, 32, 3), np.uint8)


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine(engine: str, kind: str, tmp_path: Path) -> None:
    """The kind of the error is that of a file that is no artifact, not that of a node that cannot run an engine."""
    payload = hostile_payload(kind, tmp_path / "touched")
    with pytest.raises(ArtifactFormatError, match="expected a quantized program"):
        load_engine(payload, engine, LoadOptions((32, 32))).run(IMAGES)
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_predictor_and_a_choice_of_engines(kind: str, tmp_path: Path) -> None:
    """As a worker, a benchmark and the doctor load it: an artifact that is right in all else."""
    artifact = with_payload(hostile_payload(kind, tmp_path / "touched"))
    with pytest.raises(ArtifactFormatError):
        Predictor(artifact)
    with pytest.raises(ArtifactFormatError):
        choose_engine(artifact)
    assert not (tmp_path / "touched").exists()
