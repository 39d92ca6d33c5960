"""Truth against prediction and INT8 against float, one row an image: the numbers of a plain computation."""
from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from sparkq.config import InferenceConfig, QuantizationConfig
from sparkq.images.preprocess import preprocess_content
from sparkq.quantization import quantize
from sparkq.worker.evaluate import EVALUATION_FIELDS, evaluate_partition
from sparkq.worker.predictor import Predictor
from tests.models import (
    SMALL,
    NotFiniteOnBlack,
    SmallNet,
    digit_files,
    digits,
    digits_artifact,
    encoded,
    failing_on_white,
    float_artifact,
    noise,
)

COUNT = 60
COMPARED = ("top1", "top5", "label", "truth")
WITH_FLOAT = ("float_top1", "float_top5", "agrees", "signal", "noise", "float_label")


@pytest.fixture(scope="module")
def int8() -> Predictor:
    """INT8 digits."""
    return Predictor(digits_artifact())


@pytest.fixture(scope="module")
def floating() -> Predictor:
    """The same in float."""
    return Predictor(digits_artifact("none"))


def _truth() -> npt.NDArray[np.int64]:
    """The labels, a third of them changed: not all answers are right, and some are in the first five."""
    truth = digits()[1].labels[:COUNT].copy()
    truth[::3] = (truth[::3] * 3 + 1) % 10
    return truth


def _evaluate(
    contents: list[bytes | None], truth: npt.NDArray[np.int64], predictor: Predictor, reference: Predictor | None,
    batch_size: int = 7,
) -> pa.Table:
    batch = pa.record_batch({"truth": pa.array(truth, pa.int32()), "image": pa.array(contents, pa.binary())})
    batches = evaluate_partition(
        iter([batch.slice(0, 5), batch.slice(5)]), predictor=lambda: predictor,
        float_predictor=None if reference is None else lambda: reference, image_column="image", truth_column="truth",
        config=InferenceConfig(batch_size=batch_size, max_image_pixels=10_000),
    )
    return pa.Table.from_batches(batches, EVALUATION_FIELDS)


def _answers(files: list[bytes], predictor: Predictor) -> tuple[npt.NDArray[np.float64], list[list[int]]]:
    """(outputs, first five classes), image after image; ties to the smaller index."""
    preprocess = predictor.manifest.preprocess
    outputs = [predictor.engine.run(np.stack([preprocess_content(file, preprocess)]))[0].tolist() for file in files]
    return np.array(outputs), [sorted(range(len(row)), key=lambda index: (-row[index], index))[:5] for row in outputs]


def test_numbers_of_every_image(int8: Predictor, floating: Predictor) -> None:
    files, truth = list(digit_files(COUNT)), _truth()
    columns = _evaluate(list(files), truth, int8, floating).to_pydict()
    outputs, first_five = _answers(files, int8)
    float_outputs, float_first_five = _answers(files, floating)
    assert columns["compared"] == [True] * COUNT
    assert columns["top1"] == [five[0] == label for five, label in zip(first_five, truth, strict=True)]
    assert columns["top5"] == [label in five for five, label in zip(first_five, truth, strict=True)]
    assert columns["float_top1"] == [five[0] == label for five, label in zip(float_first_five, truth, strict=True)]
    assert columns["float_top5"] == [label in five for five, label in zip(float_first_five, truth, strict=True)]
    assert columns["agrees"] == [one[0] == other[0] for one, other in zip(first_five, float_first_five, strict=True)]
    assert columns["label"] == [five[0] for five in first_five]
    assert columns["float_label"] == [five[0] for five in float_first_five]
    assert columns["truth"] == truth.tolist()
    np.testing.assert_allclose(columns["signal"], (float_outputs**2).sum(1), rtol=1e-5)
    np.testing.assert_allclose(columns["noise"], ((float_outputs - outputs) ** 2).sum(1), rtol=1e-3)
    # The changed labels make all of it count for something.
    assert 0.5 < np.mean(columns["top1"]) < np.mean(columns["top5"]) < 1
    assert np.mean(columns["agrees"]) > 0.9 and min(columns["noise"]) > 0


def test_without_a_float_model(int8: Predictor, floating: Predictor) -> None:
    """Its columns are null, the others the same."""
    files, truth = list(digit_files(COUNT)), _truth()
    result, expected = _evaluate(list(files), truth, int8, None), _evaluate(list(files), truth, int8, floating)
    assert result.schema == EVALUATION_FIELDS == expected.schema
    for name in ("compared", *COMPARED):
        assert result.column(name).equals(expected.column(name))
    for name in WITH_FLOAT:
        assert result.column(name).null_count == COUNT


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_images_that_do_not_decode(batch_size: int, int8: Predictor, floating: Predictor) -> None:
    """They are rows of their own, compared with nothing; each other image keeps its own truth."""
    files, truth = list(digit_files(COUNT)), _truth()
    expected = _evaluate(list(files), truth, int8, floating).to_pylist()
    positions = [0, 1, 9, 30, COUNT + 4]
    contents: list[bytes | None] = list(files)
    labels = truth.tolist()
    bad = [None, b"no image", b"", encoded(np.zeros((200, 200, 3), np.uint8)), files[0][:40]]
    for position, content in zip(positions, bad, strict=True):
        contents.insert(position, content)
        labels.insert(position, 0)
    rows = _evaluate(contents, np.array(labels), int8, floating, batch_size).to_pylist()
    assert [rows[position] for position in positions] == [
        {"compared": False, **dict.fromkeys((*COMPARED, *WITH_FLOAT))}] * len(positions)
    assert [row for index, row in enumerate(rows) if index not in positions] == [
        {**row, "signal": pytest.approx(row["signal"], rel=1e-5), "noise": pytest.approx(row["noise"], rel=1e-3)}
        for row in expected
    ]


def test_no_image_decodes(int8: Predictor, floating: Predictor) -> None:
    rows = _evaluate([b"no image"] * 9, np.zeros(9, np.int64), int8, floating).to_pylist()
    assert rows == [{"compared": False, **dict.fromkeys((*COMPARED, *WITH_FLOAT))}] * 9


def test_empty_partition_loads_no_model() -> None:
    def load() -> Predictor:
        raise AssertionError("the model was loaded")

    batches = evaluate_partition(
        iter(()), predictor=load, float_predictor=load, image_column="image", truth_column="truth", config=InferenceConfig(),
    )
    assert not list(batches)


def test_model_against_itself(int8: Predictor) -> None:
    """Full agreement, no noise."""
    columns = _evaluate(list(digit_files(10)), _truth()[:10], int8, int8).to_pydict()
    assert columns["agrees"] == [True] * 10 and columns["noise"] == [0.0] * 10
    assert columns["float_top1"] == columns["top1"]


def test_fewer_classes_than_five() -> None:
    """Every label is among the first five of three."""
    artifact = quantize(
        SmallNet(classes=3), calibration=noise(2), preprocess=SMALL, config=QuantizationConfig(recipe="none"))
    files = [encoded(image) for image in noise(9)]
    columns = _evaluate(list(files), np.arange(9) % 3, Predictor(artifact), None).to_pydict()
    assert columns["top5"] == [True] * 9
    assert sum(columns["top1"]) < 9


@pytest.mark.parametrize("position", [0, 4, 8])
@pytest.mark.parametrize(
    ("failing", "classes", "pixel"), [
        (lambda: failing_on_white(float_artifact(SmallNet())), 4, 255),
        (lambda: Predictor(float_artifact(NotFiniteOnBlack(infinite=False))), 3, 0),
    ], ids=["fails", "nan"],
)
def test_an_image_without_an_answer(failing: Callable[[], Predictor], classes: int, pixel: int, position: int) -> None:
    """It is compared with nothing, whichever of the two models it is that fails, and spoils no other row."""
    files = [encoded(image) for image in noise(8, high=200)]
    odd = [*files[:position], encoded(np.full((16, 16, 3), pixel, np.uint8)), *files[position:]]
    odd_one, sound = failing(), Predictor(float_artifact(SmallNet(classes=classes)))
    truth = np.arange(9) % 3
    for predictor, reference in ((odd_one, sound), (sound, odd_one)):
        rows = _evaluate(list(odd), truth, predictor, reference).to_pylist()
        expected = _evaluate(list(files), np.delete(truth, position), predictor, reference).to_pylist()
        assert not rows.pop(position)["compared"]
        for row, other in zip(rows, expected, strict=True):
            # Sums of float outputs move in their last digit with the batch.
            assert row == {**other, "signal": pytest.approx(other["signal"]), "noise": pytest.approx(other["noise"])}
