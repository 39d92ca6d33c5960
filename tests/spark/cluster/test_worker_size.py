"""One worker, measured in a process of its own."""
from __future__ import annotations

from pathlib import Path

import pytest

from sparkq.artifact.file import ModelArtifact
from sparkq.config import InferenceConfig
from sparkq.errors import EngineError
from sparkq.spark.cluster.worker_size import measure_worker
from tests.spark.local import assert_clear


def test_measured_once(artifact: ModelArtifact, node_cache: Path) -> None:
    """Torch, pyspark and 64 MiB of images fit in no less; what was measured is kept, by engine."""
    found = measure_worker(artifact, InferenceConfig())
    assert (found.engine, found.batch_size) == ("fbgemm", 16)
    assert 64 * 2**20 < found.resident_bytes < found.address_space_bytes
    assert found.images_per_second > 10 and 0 < found.start_seconds < 600
    files = set(node_cache.glob("*.worker"))
    assert files and measure_worker(artifact, InferenceConfig(engine="fbgemm", top_k=2)) == found
    assert set(node_cache.glob("*.worker")) == files


def test_a_model_that_this_machine_runs_wrongly(falsified: ModelArtifact) -> None:
    """The process's own sentence comes through."""
    with pytest.raises(EngineError) as caught:
        measure_worker(falsified, InferenceConfig())
    assert_clear(caught.value, "worker of artifact 'DigitsNet'", "expected a process that predicts", "golden output")
