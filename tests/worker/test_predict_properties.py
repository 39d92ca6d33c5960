"""THE property: an INT8 prediction depends on its image alone, and a bad image harms no row but its own."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparkq.artifact.file import ModelArtifact
from sparkq.config import InferenceConfig
from sparkq.worker.predict import predict_partition
from sparkq.worker.predictor import Predictor
from tests.models import digit_files, digits_artifact, encoded, noise, reference_artifact, reference_files

Row = dict[str, Any]

GOOD_FILE = encoded(noise(1)[0])
BAD = {
    "null": (None, "missing_content"),
    "zero_bytes": (b"", "empty_content"),
    "text": (b"this is no image", "not_an_image"),
    "truncated": (GOOD_FILE[:len(GOOD_FILE) // 2], "truncated_image"),
    "corrupt": (GOOD_FILE[:40] + b"\xff\x00\xff" + GOOD_FILE[43:], "corrupt_image"),
    "bomb": (encoded(np.zeros((3000, 3001, 3), np.uint8)), "image_too_large"),
}
MAX_IMAGE_PIXELS = 3000 * 3000


@dataclass(frozen=True)
class Subject:
    """An artifact, real images, and the row of each of them predicted alone by a predictor of its own."""

    artifact: ModelArtifact
    files: list[bytes]
    alone: list[Row]
    classes: int


def _rows(
    artifact: ModelArtifact, contents: list[bytes | None], *, cuts: list[int] | None = None, batch_size: int = 16,
    predictor: Predictor | None = None,
) -> list[Row]:
    """Predict a partition that arrives in record batches cut at `cuts`; every class in top_k, so that all outputs count."""
    whole = pa.record_batch({"row": pa.array(range(len(contents))), "content": pa.array(contents, pa.binary())})
    edges = [0, *sorted(cuts or []), len(contents)]
    batches = (whole.slice(start, end - start) for start, end in zip(edges, edges[1:], strict=False))
    loaded = predictor or Predictor(artifact)
    config = InferenceConfig(batch_size=batch_size, top_k=1000, max_image_pixels=MAX_IMAGE_PIXELS)
    result = predict_partition(batches, predictor=lambda: loaded, image_column="content", config=config)
    rows: list[Row] = [row for batch in result for row in batch.to_pylist()]
    assert [row.pop("row") for row in rows] == list(range(len(contents)))
    return rows


def _subject(artifact: ModelArtifact, files: list[bytes]) -> Subject:
    return Subject(artifact, files, [_rows(artifact, [file])[0] for file in files], artifact.manifest.classes)


SUBJECTS: dict[str, Callable[[Callable[[], Path]], Subject]] = {
    "digits": lambda shared: _subject(digits_artifact(), list(digit_files(24))),
    "resnet20": lambda shared: _subject(
        reference_artifact(shared(), "resnet20"), reference_files(shared(), "resnet20", 24, step=80)),
    "squeezenet": lambda shared: _subject(
        reference_artifact(shared(), "squeezenet"), reference_files(shared(), "squeezenet", 5, step=40)),
}


@pytest.fixture(scope="module", params=SUBJECTS)
def subject(request: pytest.FixtureRequest) -> Subject:
    """Digits, and the trained models of shared/data where it is there."""
    return SUBJECTS[request.param](lambda: request.getfixturevalue("shared_data"))


@pytest.fixture(scope="module")
def scans() -> Subject:
    """Digits only."""
    return SUBJECTS["digits"](lambda: Path())


def test_every_image_alone_is_predicted(subject: Subject) -> None:
    assert {row["status"] for row in subject.alone} == {"ok"}
    assert {len(row["top_k"]) for row in subject.alone} == {subject.classes}
    assert len({str(row["top_k"]) for row in subject.alone}) > len(subject.files) // 2  # it looks at the images


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_a_prediction_depends_on_its_image_alone(subject: Subject, data: st.DataObject) -> None:
    """Bit for bit: whatever the batch mates and their order, the batch size, the record batches, good and bad neighbours."""
    largest = 40 if len(subject.files) > 10 else 6
    good, bad = st.integers(0, len(subject.files) - 1), st.sampled_from(sorted(BAD))
    chosen = data.draw(st.lists(st.one_of(good, good, bad), min_size=1, max_size=largest), label="images and bad files")
    cuts = data.draw(st.lists(st.integers(0, len(chosen)), max_size=5), label="record batches end at")
    batch_size = data.draw(st.integers(1, 20), label="batch size")
    contents = [subject.files[item] if isinstance(item, int) else BAD[item][0] for item in chosen]
    for item, row in zip(chosen, _rows(subject.artifact, contents, cuts=cuts, batch_size=batch_size), strict=True):
        if isinstance(item, int):
            assert row == subject.alone[item]
        else:
            assert (row["status"], row["error_code"]) == ("error", BAD[item][1])


def test_a_second_attempt_gives_the_same(subject: Subject) -> None:
    """A worker that has predicted much (its graph is optimized by then), and a new one."""
    old = Predictor(subject.artifact)
    for _ in range(3):
        assert _rows(subject.artifact, list(subject.files), batch_size=4, predictor=old) == subject.alone
    assert _rows(ModelArtifact.loads(subject.artifact.dumps()), list(subject.files), batch_size=3) == subject.alone


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("batch_size", [1, 4, 16])
def test_a_bad_image_in_every_position(kind: str, batch_size: int, scans: Subject) -> None:
    """One error row, in its place, with its code and a sentence; the others as without it."""
    content, code = BAD[kind]
    predictor = Predictor(scans.artifact)
    for position in range(7):
        contents: list[bytes | None] = list(scans.files[:6])
        contents.insert(position, content)
        rows = _rows(scans.artifact, contents, batch_size=batch_size, predictor=predictor)
        bad = rows.pop(position)
        assert rows == scans.alone[:6]
        assert (bad["status"], bad["error_code"]) == ("error", code)
        assert len(bad["error_message"]) > 10 and "\n" not in bad["error_message"]
        assert all(bad[name] is None for name in ("label", "label_name", "score", "top_k"))
        assert bad["model_digest"] == scans.artifact.digest and bad["engine"] == "fbgemm"


@pytest.mark.parametrize("batch_size", [1, 4, 16])
def test_all_images_bad(batch_size: int, scans: Subject) -> None:
    rows = _rows(scans.artifact, [content for content, _ in BAD.values()], batch_size=batch_size)
    assert [row["error_code"] for row in rows] == [code for _, code in BAD.values()]


def test_noise_of_every_size_is_predicted(scans: Subject) -> None:
    """Images of 1 x 1 to 199 x 199 pixels in one batch, each as if it were alone."""
    contents: list[bytes | None] = [encoded(noise(1, size=size)[0]) for size in (1, 2, 8, 31, 33, 199)]
    rows = _rows(scans.artifact, contents)
    assert {row["status"] for row in rows} == {"ok"}
    assert rows == [_rows(scans.artifact, [content])[0] for content in contents]
