"""Record batches in, record batches out: one row a row, in order, with its other columns, without its image."""
from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparkq.config import InferenceConfig
from sparkq.error_codes import ErrorCode
from sparkq.errors import ImageError
from sparkq.images.preprocess import preprocess_content
from sparkq.model_tasks.columns import prediction_fields
from sparkq.worker import predict as partition
from sparkq.worker.decode_batches import DecodedBatch, decoded_batches
from sparkq.worker.predict import predict_partition
from sparkq.worker.predictor import Predictor
from sparkq.worker.rebatch import rebatch
from tests.models import classified, digit_files, digits, digits_artifact, encoded, reference_artifact

FILES = 20


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    """INT8 digits."""
    return Predictor(digits_artifact())


@pytest.fixture
def batch() -> pa.RecordBatch:
    """20 scans between a key and a nested column."""
    return pa.record_batch({
        "key": pa.array(range(100, 100 + FILES), pa.int64()),
        "content": pa.array(digit_files(FILES), pa.binary()),
        "tags": pa.array([[f"tag {row}"] if row % 3 else None for row in range(FILES)]),
    })


def _predict(
    batches: list[pa.RecordBatch], predictor: Predictor, *, image_column: str = "content", **config: int,
) -> pa.Table:
    results = list(predict_partition(
        iter(batches), predictor=lambda: predictor, image_column=image_column, config=InferenceConfig(**config),
    ))
    return pa.Table.from_batches(results)


def _image_struct(pixels: list[npt.NDArray[np.uint8] | None], *, large: bool = False) -> pa.Array:
    """As Spark's image source writes it: BGR, OpenCV's type number 16."""
    kind = pa.struct([
        ("origin", pa.string()), ("height", pa.int32()), ("width", pa.int32()), ("nChannels", pa.int32()), ("mode", pa.int32()),
        ("data", pa.large_binary() if large else pa.binary()),
    ])
    return pa.array([
        None if image is None else {
            "origin": f"file:/{index}", "height": image.shape[0], "width": image.shape[1], "nChannels": 3, "mode": 16,
            "data": image[:, :, ::-1].tobytes(),
        } for index, image in enumerate(pixels)
    ], kind)


class TestRows:
    """The row contract."""

    def test_other_columns_stay_and_the_image_goes(self, batch: pa.RecordBatch, predictor: Predictor) -> None:
        result = _predict([batch], predictor)
        assert result.column_names == ["key", "tags", *prediction_fields("classification").names]
        assert result.schema.field("key").type == pa.int64()
        assert result.column("key").to_pylist() == batch.column("key").to_pylist()
        assert result.column("tags").to_pylist() == batch.column("tags").to_pylist()

    def test_predictions_are_those_of_the_predictor(self, batch: pa.RecordBatch, predictor: Predictor) -> None:
        result = _predict([batch], predictor, top_k=3)
        preprocess = predictor.manifest.preprocess
        pixels = np.stack([preprocess_content(file, preprocess) for file in digit_files(FILES)])
        labels, scores = classified(predictor, pixels, top_k=3)
        assert result.column("status").to_pylist() == ["ok"] * FILES
        assert result.column("label").to_pylist() == labels[:, 0].tolist()
        assert result.column("score").to_pylist() == scores[:, 0].tolist()
        ranked = result.column("top_k").to_pylist()
        assert [[item["label"] for item in row] for row in ranked] == labels.tolist()
        assert [[item["score"] for item in row] for row in ranked] == scores.tolist()
        assert set(result.column("engine").to_pylist()) == {"fbgemm"}
        assert set(result.column("model_digest").to_pylist()) == {digits_artifact().digest}

    def test_they_are_right(self, batch: pa.RecordBatch, predictor: Predictor) -> None:
        """Nearly always: a prediction on a neighbour's row would be right one time in ten."""
        truth = digits()[1].labels[:FILES]
        assert (np.array(_predict([batch], predictor).column("label").to_pylist()) == truth).mean() >= 0.9

    @pytest.mark.parametrize("top_k", [1, 10, 11, 1000])
    def test_top_k_is_at_most_the_number_of_classes(self, top_k: int, batch: pa.RecordBatch, predictor: Predictor) -> None:
        lengths = {len(row) for row in _predict([batch], predictor, top_k=top_k).column("top_k").to_pylist()}
        assert lengths == {min(top_k, 10)}

    def test_real_photographs(self, shared_data: Path) -> None:
        """JPEGs of many sizes in one batch; SqueezeNet in INT8 is right on about every second one, of 1000 classes."""
        with (shared_data / "photos_jpeg" / "labels.csv").open(encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))[3::20]
        files = [(shared_data / "photos_jpeg" / row["path"]).read_bytes() for row in rows]
        squeezenet = Predictor(reference_artifact(shared_data, "squeezenet"))
        result = _predict([pa.record_batch({"content": pa.array(files)})], squeezenet, batch_size=4)
        assert result.column("status").to_pylist() == ["ok"] * len(rows)
        right = [label == int(row["label"]) for label, row in zip(result.column("label").to_pylist(), rows, strict=True)]
        assert sum(right) >= 3

    def test_error_messages_are_short(self, predictor: Predictor) -> None:
        result = _predict([pa.record_batch({"content": pa.array([b"\x00" * 10_000])})], predictor)
        assert len(result.column("error_message")[0].as_py()) <= 300


class TestContentColumn:
    """Binary in every width, image structs, slices of larger batches."""

    @pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()], ids=str)
    def test_binary(self, kind: pa.DataType, batch: pa.RecordBatch, predictor: Predictor) -> None:
        cast = pa.record_batch({"image": batch.column("content").cast(kind)})
        result = _predict([cast], predictor, image_column="image")
        assert result.equals(_predict([batch], predictor).drop_columns(["key", "tags"]))

    @pytest.mark.parametrize("large", [False, True])
    def test_image_struct(self, large: bool, batch: pa.RecordBatch, predictor: Predictor) -> None:
        """The same predictions as of the PNG files; its other fields stay."""
        structs = _image_struct(list(digits()[1].images[:FILES]), large=large)
        result = _predict([pa.record_batch({"image": structs})], predictor, image_column="image")
        expected = _predict([batch], predictor)
        for name in prediction_fields("classification").names:
            assert result.column(name).equals(expected.column(name)), name
        kept = result.schema.field("image").type
        assert [kept.field(index).name for index in range(kept.num_fields)] == ["origin", "height", "width", "nChannels", "mode"]
        assert [row["origin"] for row in result.column("image").to_pylist()] == [f"file:/{row}" for row in range(FILES)]

    @pytest.mark.parametrize("column", ["binary", "struct"])
    def test_slices(self, column: str, batch: pa.RecordBatch, predictor: Predictor) -> None:
        """A slice is a view with an offset into its parent: its rows, and only they."""
        images = list(digits()[1].images[:FILES])
        images[4] = images[9] = None
        content = _image_struct(images) if column == "struct" else pa.array(
            [None if image is None else encoded(image) for image in images])
        whole = pa.record_batch({"key": batch.column("key"), "content": content})
        expected = _predict([whole], predictor, batch_size=FILES)
        assert [row for row, status in enumerate(expected.column("status").to_pylist()) if status == "error"] == [4, 9]
        result = _predict([whole.slice(3, 9), whole.slice(12, 0), whole.slice(12)], predictor, batch_size=4)
        assert result.combine_chunks().to_pylist() == expected.slice(3).to_pylist()

    def test_struct_that_is_null_keeps_its_null(self, predictor: Predictor) -> None:
        structs = _image_struct([digits()[1].images[0], None])
        result = _predict([pa.record_batch({"image": structs})], predictor, image_column="image")
        assert result.column("image").is_null().to_pylist() == [False, True]
        assert result.column("error_code").to_pylist() == [None, "missing_content"]

    @pytest.mark.parametrize("disturbed", [
        lambda decoded: replace(decoded, rows=[0, *decoded.rows[:-1]]),
        lambda decoded: replace(decoded, errors={0: ImageError(ErrorCode.NOT_FOUND, "expected an object; got nothing there")}),
    ], ids=["a_row_without_outcome", "a_row_with_two"])
    def test_a_row_that_is_lost_stops_the_task(
        self, batch: pa.RecordBatch, predictor: Predictor, monkeypatch: pytest.MonkeyPatch,
        disturbed: Callable[[DecodedBatch], DecodedBatch],
    ) -> None:
        """Rows that fit no input row would be predictions that look right. The last column to go with them is the image's."""
        def decoded(*arguments: Any, **options: Any) -> Iterator[tuple[Predictor, DecodedBatch]]:
            yield from ((model, disturbed(one)) for model, one in decoded_batches(*arguments, **options))

        monkeypatch.setattr(partition, "decoded_batches", decoded)
        with pytest.raises(AssertionError, match="expected an outcome for each of"):
            _predict([batch.select(["content"])], predictor)


class TestEmpty:
    """Nothing in, nothing out, and no model loaded for it."""

    @pytest.mark.parametrize("batches", [0, 1, 3])
    def test_empty_partition_loads_no_model(self, batches: int, batch: pa.RecordBatch) -> None:
        def load() -> Predictor:
            raise AssertionError("the model was loaded")

        empty = iter([batch.slice(0, 0)] * batches)
        assert not list(predict_partition(empty, predictor=load, image_column="content", config=InferenceConfig()))

    def test_empty_batches_between_others(self, batch: pa.RecordBatch, predictor: Predictor) -> None:
        result = _predict([batch.slice(0, 0), batch.slice(0, 7), batch.slice(7, 0), batch.slice(7)], predictor)
        assert result.equals(_predict([batch], predictor))

    def test_input_is_drained(self, batch: pa.RecordBatch, predictor: Predictor) -> None:
        """Or Spark throws the worker away, with the model in it."""
        drained = []

        def batches() -> Iterator[pa.RecordBatch]:
            yield batch
            drained.append(True)

        list(predict_partition(batches(), predictor=lambda: predictor, image_column="content", config=InferenceConfig()))
        assert drained


class TestRebatch:
    """The same rows in full batches."""

    @settings(max_examples=200, deadline=None)
    @given(sizes=st.lists(st.integers(0, 30), max_size=12), rows=st.integers(1, 40))
    def test_same_rows_in_full_batches(self, sizes: list[int], rows: int) -> None:
        total = sum(sizes)
        whole = pa.record_batch({"n": pa.array(range(total), pa.int64()), "text": pa.array([f"row {n}" for n in range(total)])})
        starts = [sum(sizes[:index]) for index in range(len(sizes))]
        result = list(rebatch((whole.slice(start, size) for start, size in zip(starts, sizes, strict=True)), rows))
        assert [batch.num_rows for batch in result] == [rows] * (total // rows) + [total % rows] * bool(total % rows)
        assert pa.Table.from_batches(result, whole.schema).to_pydict() == whole.to_pydict()

    def test_no_row_is_lost_where_images_do_not_fit_into_one_column(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Arrow's limit is 2 GiB; with a limit of 2000 bytes the same happens faster."""
        monkeypatch.setattr("sparkq.worker.rebatch._MAX_JOINED_BYTES", 2000)
        parts = (pa.record_batch({"n": [index], "content": [bytes(900)]}) for index in range(9))
        result = list(rebatch(parts, 4))
        assert pa.Table.from_batches(result).column("n").to_pylist() == list(range(9))
        assert max(batch.nbytes for batch in result) <= 2000

    def test_it_waits_for_no_more_than_it_needs(self) -> None:
        """A full batch leaves before the next input is asked for."""
        asked = []

        def batches() -> Iterator[pa.RecordBatch]:
            for index in range(3):
                asked.append(index)
                yield pa.record_batch({"n": [index] * 4})

        assert next(rebatch(batches(), 8)).num_rows == 8
        assert asked == [0, 1]
