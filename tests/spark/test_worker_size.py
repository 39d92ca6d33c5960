"""One worker, measured in a process of its own."""
from __future__ import annotations

from pathlib import Path

import pytest
from sample_artifacts import sample_artifact

from sparkq.artifact import ModelArtifact
from sparkq.config import InferenceConfig
from sparkq.errors import EngineError
from sparkq.spark.worker_size import measure_worker

from .local import assert_clear


def test_measured_once(artifact: ModelArtifact, node_cache: Path) -> None:
    """Torch, pyspark and 64 MiB of images fit in no less; what was measured is kept, by engine."""
    config = InferenceConfig(engine="onednn", batch_size=3)
    found = measure_worker(artifact, config)
    assert (found.engine, found.batch_size) == ("onednn", 3)
    assert 64 * 2**20 < found.resident_bytes < found.address_space_bytes
    assert found.images_per_second > 10 and 0 < found.start_seconds < 600
    files = set(node_cache.glob("*.worker"))
    assert measure_worker(artifact, config) == found and set(node_cache.glob("*.worker")) == files != set()


def test_a_model_that_does_not_run() -> None:
    with pytest.raises(EngineError) as caught:
        measure_worker(sample_artifact(b"no model"), InferenceConfig())
    assert_clear(caught.value, "worker of artifact 'sample'", "expected a process that predicts")


def test_a_wrong_golden_output(falsified: ModelArtifact) -> None:
    """Its own sentence comes through."""
    with pytest.raises(EngineError, match="golden output"):
        measure_worker(falsified, InferenceConfig())
