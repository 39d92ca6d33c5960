"""Full batches of pixels from whatever Spark sends: bounds in bytes, uris like contents, an end in every case."""
from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparkq.config import InferenceConfig
from sparkq.errors import ConfigError
from sparkq.worker.decode_batches import decoded_batches
from sparkq.worker.predict import predict_partition
from sparkq.worker.predictor import Predictor
from tests.models import digit_files, digits_artifact

FILES = 50


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    """INT8 digits."""
    return Predictor(digits_artifact())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scans by number."""
    folder = tmp_path_factory.mktemp("scans")
    for number, content in enumerate(digit_files(FILES)):
        (folder / f"{number:02d}.png").write_bytes(content)
    return folder


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """After every test here: neither of prefetching nor of reading."""
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("sparkq")] == []


def _batches(columns: dict[str, list[object]], cuts: list[int]) -> Iterator[pa.RecordBatch]:
    whole = pa.record_batch({name: pa.array(values) for name, values in columns.items()})
    edges = [0, *sorted(cuts), whole.num_rows]
    return (whole.slice(start, end - start) for start, end in zip(edges, edges[1:], strict=False))


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, FILES), max_size=6), prefetch=st.sampled_from([0, 1, 20_000, 10**9]))
def test_uris_give_the_rows_of_their_contents(folder: Path, predictor: Predictor, cuts: list[int], prefetch: int) -> None:
    """To the bit, wherever record batches end and however much is made ahead; missing and null ones in their places."""
    numbers = list(range(FILES))
    contents: list[object] = list(digit_files(FILES))
    contents[7], contents[30] = None, b""
    uris: list[object] = [f"file:{folder}/{number:02d}.png" for number in numbers]
    uris[7], uris[30] = None, f"{folder}/gone.png"
    by_content = _rows(predictor, {"n": list(numbers), "content": contents}, cuts, "content", InferenceConfig(), prefetch)
    config = InferenceConfig(uri_column="uri")
    by_uri = _rows(predictor, {"n": list(numbers), "uri": uris}, cuts, "uri", config, prefetch)
    assert [row.pop("uri") for row in by_uri] == uris
    for number in (7, 30):
        assert (by_content[number]["status"], by_uri[number]["status"]) == ("error", "error")
    assert (by_uri[7]["error_code"], by_uri[30]["error_code"]) == ("missing_content", "not_found")
    rest = [number for number in numbers if number not in (7, 30)]
    assert [by_uri[number] for number in rest] == [by_content[number] for number in rest]


def _rows(
    predictor: Predictor, columns: dict[str, list[object]], cuts: list[int], column: str, config: InferenceConfig, prefetch: int,
) -> list[dict[str, object]]:
    found = predict_partition(
        _batches(columns, cuts), predictor=lambda: predictor, image_column=column, config=config, prefetch_bytes=prefetch,
    )
    return [row for batch in found for row in batch.to_pylist()]


def test_a_record_batch_is_let_go_once_it_is_decoded(predictor: Predictor) -> None:
    """Of record batches with one huge image each, not a model's batch of them is in memory: only one or two."""
    most = 0
    size = 4 * 2**20

    def batches() -> Generator[pa.RecordBatch, None, None]:
        nonlocal most
        before = pa.total_allocated_bytes()
        for number in range(32):
            content = pa.array([digit_files(1)[0] + bytes(size)])
            most = max(most, pa.total_allocated_bytes() - before)
            yield pa.record_batch({"n": [number], "content": content})
            del content

    found = predict_partition(batches(), predictor=lambda: predictor, image_column="content", config=InferenceConfig())
    rows = [row for batch in found for row in batch.to_pylist()]
    assert [row["n"] for row in rows] == list(range(32)) and {row["status"] for row in rows} == {"ok"}
    assert 0 < most < 4 * size


def test_batches_are_full(predictor: Predictor) -> None:
    """Across record batches, which Spark may cut anywhere."""
    contents: list[object] = list(digit_files(FILES))
    decoded = decoded_batches(
        lambda: predictor, _batches({"content": contents}, list(range(0, FILES, 3))), image_column="content",
        config=InferenceConfig(),
    )
    assert [batch.row_count for _, batch in decoded] == [16, 16, 16, 2]


class Broken(Exception):
    """Of a test."""


def test_an_engine_that_breaks_ends_the_task(folder: Path) -> None:
    """What is no failure of an image comes out, and no thread stays behind."""
    predictor = Predictor(digits_artifact())

    class Engine:
        name = "broken"

        def run(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
            raise Broken

    predictor.engine = Engine()
    uris: list[object] = [str(path) for path in sorted(folder.iterdir())] * 4
    with pytest.raises(Broken):
        _rows(predictor, {"uri": uris}, [20, 90], "uri", InferenceConfig(uri_column="uri"), 10**6)


@pytest.mark.parametrize("prefetch", [0, 10**6])
def test_a_consumer_that_stops_early(folder: Path, predictor: Predictor, prefetch: int) -> None:
    """As under a LIMIT: closing is enough, and the input is asked for little more."""
    asked = 0

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal asked
        for _ in range(1000):
            asked += 1
            yield pa.record_batch({"uri": [str(path) for path in sorted(folder.iterdir())]})

    found = predict_partition(
        batches(), predictor=lambda: predictor, image_column="uri", config=InferenceConfig(uri_column="uri"),
        prefetch_bytes=prefetch,
    )
    assert next(found).num_rows == 16
    found.close()  # type: ignore[attr-defined]
    assert asked < 20


def test_input_that_fails_comes_out(predictor: Predictor) -> None:
    """After the rows before it."""
    def batches() -> Iterator[pa.RecordBatch]:
        yield pa.record_batch({"content": list(digit_files(20))})
        raise OSError("the executor is gone")

    found = predict_partition(batches(), predictor=lambda: predictor, image_column="content", config=InferenceConfig())
    assert next(found).num_rows == 16
    with pytest.raises(OSError, match="the executor is gone"):
        next(found)


def test_a_column_is_one_or_the_other() -> None:
    """Images themselves, or where they are."""
    with pytest.raises(ConfigError, match="uri_column"):
        InferenceConfig(content_column="content", uri_column="uri")
