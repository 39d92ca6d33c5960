"""Artifacts with layers in float: at one batch size, a prediction depends on its image alone, to the bit."""
from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparkq.artifact.file import ModelArtifact
from sparkq.config import InferenceConfig, QuantizationConfig
from sparkq.quantization import quantize
from sparkq.worker.predict import predict_partition
from sparkq.worker.predictor import Predictor
from tests.models import REFERENCES, reference_files, reference_model

FILES = 12
IN_FLOAT = {"mixed": ("conv1", "layer1.0.conv1", "layer2.0.conv2"), "none": ()}


@lru_cache(maxsize=None)
def _predictor(shared_data: Path, recipe: str) -> Predictor:
    config = QuantizationConfig(
        recipe="none" if recipe == "none" else "static", rounding="nearest", float_layers=IN_FLOAT[recipe],
    )
    artifact: ModelArtifact = quantize(
        reference_model(shared_data, "resnet20"), calibration=reference_files(shared_data, "resnet20", 16),
        preprocess=REFERENCES["resnet20"].preprocess, config=config,
    )
    assert artifact.manifest.float_layers
    return Predictor(artifact, threads=1)


def _rows(predictor: Predictor, contents: list[bytes], cut: int) -> list[dict[str, Any]]:
    whole = pa.record_batch({"content": pa.array(contents, pa.binary())})
    batches = iter([whole.slice(0, cut), whole.slice(cut)])
    config = InferenceConfig(batch_size=8, top_k=10)
    found = predict_partition(batches, predictor=lambda: predictor, image_column="content", config=config)
    return [row for batch in found for row in batch.to_pylist()]


@lru_cache(maxsize=None)
def _alone(shared_data: Path, recipe: str) -> list[dict[str, Any]]:
    predictor = _predictor(shared_data, recipe)
    return [_rows(predictor, [file], 0)[0] for file in reference_files(shared_data, "resnet20", FILES)]


@pytest.mark.parametrize("recipe", list(IN_FLOAT))
@settings(max_examples=25, deadline=None)
@given(chosen=st.lists(st.integers(-1, FILES - 1), min_size=1, max_size=20), cut=st.integers(0, 20))
def test_a_prediction_depends_on_its_image_alone(shared_data: Path, recipe: str, chosen: list[int], cut: int) -> None:
    """Any images in any order, with broken ones (-1) among them, in full and partial batches: the rows that each gives alone."""
    files = reference_files(shared_data, "resnet20", FILES)
    contents = [files[index] if index >= 0 else b"no image" for index in chosen]
    rows = _rows(_predictor(shared_data, recipe), contents, min(cut, len(contents)))
    expected = _alone(shared_data, recipe)
    answered = [row for row, index in zip(rows, chosen, strict=True) if index >= 0]
    assert answered == [expected[index] for index in chosen if index >= 0]
    assert [row["status"] for row in rows] == ["ok" if index >= 0 else "error" for index in chosen]
