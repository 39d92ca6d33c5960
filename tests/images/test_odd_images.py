"""Bad and odd images in every position of a batch: each its own row, and not a bit of a neighbour's prediction changes."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from sparkq.config import InferenceConfig
from sparkq.worker.predict import predict_partition
from sparkq.worker.predictor import Predictor
from tests.models import digit_files, digits_artifact
from tests.odd_images import MAX_IMAGE_PIXELS, odd_images

Row = dict[str, Any]
BATCH = 4


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    """INT8 digits: they predict something of any picture."""
    return Predictor(digits_artifact(), batch_size=BATCH)


def _rows(predictor: Predictor, contents: list[bytes | None]) -> list[Row]:
    batch = pa.record_batch({"content": pa.array(contents, pa.binary())})
    config = InferenceConfig(max_image_pixels=MAX_IMAGE_PIXELS, top_k=10)
    found = predict_partition(iter([batch]), predictor=lambda: predictor, image_column="content", config=config)
    return [row for part in found for row in part.to_pylist()]


@pytest.fixture(scope="module")
def neighbours(predictor: Predictor) -> list[Row]:
    """Rows of scans, each predicted alone."""
    return [_rows(predictor, [content])[0] for content in digit_files(BATCH)]


def test_there_are_enough() -> None:
    """Forty kinds of damage and oddity, so that one that is lost shows."""
    assert len(odd_images()) >= 40


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("name", odd_images())
def test_in_every_position_of_a_batch(name: str, predictor: Predictor, neighbours: list[Row]) -> None:
    """Between scans, first and last: the code that was expected, the same row each time, the neighbours' to the bit."""
    content, code = odd_images()[name]
    alone = _rows(predictor, [content])
    assert (alone[0]["status"], alone[0]["error_code"]) == ("ok" if code is None else "error", code)
    for position in range(BATCH):
        contents: list[bytes | None] = list(digit_files(BATCH))
        contents[position] = content
        rows = _rows(predictor, contents)
        assert rows[position] == alone[0]
        assert rows[:position] + rows[position + 1:] == neighbours[:position] + neighbours[position + 1:]


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_all_of_them_by_uri(predictor: Predictor, tmp_path: Path) -> None:
    """Files, opened by the worker: the rows that their bytes give, all in one partition."""
    files = {name: content for name, (content, _) in odd_images().items() if content is not None}
    uris = []
    for number, content in enumerate(files.values()):
        (tmp_path / f"{number}.jpg").write_bytes(content)
        uris.append(f"{tmp_path}/{number}.jpg")
    config = InferenceConfig(max_image_pixels=MAX_IMAGE_PIXELS, top_k=10, uri_column="uri")
    found = predict_partition(
        iter([pa.record_batch({"uri": uris})]), predictor=lambda: predictor, image_column="uri", config=config,
    )
    rows = [row for part in found for row in part.to_pylist()]
    assert [row.pop("uri") for row in rows] == uris
    assert rows == _rows(predictor, list(files.values()))
