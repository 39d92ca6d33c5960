"""Calibration on Spark: the same set, states and model whatever the partitions, and what the driver alone would make."""
from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from torch import fx

import sparkq
from sparkq.config import QuantizationConfig
from sparkq.demo.digits import PREPROCESS
from sparkq.errors import InputError, ModelError
from sparkq.images.preprocess import preprocess_content
from sparkq.quantization import quantize
from sparkq.quantization.calibration.image_set import CalibrationSet, calibration_set
from sparkq.quantization.calibration.observed_model import ChannelExtremesOf, CountsOf
from sparkq.quantization.recipes.static import quantize_static
from sparkq.spark.calibration import passes as calibration_pass
from sparkq.spark.calibration.prepare import SparkCalibration, spark_calibration
from sparkq.spark.input.sources import read_images
from tests.models import REFERENCES, SMALL, FailsOnWhite, digits_net, encoded, noise, reference_files, reference_model
from tests.spark.local import assert_clear, broken_files


def table_of(spark: SparkSession, files: list[bytes]) -> DataFrame:
    rows = [(f"{index:04d}.jpg", bytearray(content)) for index, content in enumerate(files)]
    return spark.createDataFrame(rows, "path string, content binary")


def pixels_of(found: SparkCalibration) -> tuple[set[bytes], set[bytes]]:
    return {image.tobytes() for image in found.calibration.images}, {image.tobytes() for image in found.held_out}


def weights_and_scales(model: torch.nn.Module) -> dict[str, bytes]:
    """All that calibration decides, by name: names of TorchScript's classes differ from run to run, these do not."""
    tensors = {name: value for name, value in model.state_dict().items() if isinstance(value, torch.Tensor)}
    found = {name: (value.int_repr() if value.is_quantized else value).numpy().tobytes() for name, value in tensors.items()}
    for name, module in model.named_modules():
        if callable(getattr(module, "weight", None)):
            found[f"{name}.weight"] = module.weight().int_repr().numpy().tobytes()
            found[f"{name}.bias"] = module.bias().detach().numpy().tobytes()
    return found


def test_same_states_whatever_the_partitions(spark: SparkSession, shared_data: Path) -> None:
    """ResNet-20 and real images in 1, 3, 7 partitions and on the driver: extremes, histograms, fingerprint, to the bit."""
    files, preprocess = reference_files(shared_data, "resnet20", 45, step=30), REFERENCES["resnet20"].preprocess
    graph = fx.symbolic_trace(reference_model(shared_data, "resnet20"))
    nodes = [node for node in graph.graph.nodes if node.op == "call_module"]

    def seen(calibration: CalibrationSet) -> tuple[str, int, bytes, list[bytes]]:
        states = [
            calibration.observe(graph, nodes, kind, preprocess=preprocess, batch_size=16).dumps()
            for kind in (CountsOf, ChannelExtremesOf)
        ]
        return calibration.fingerprint, calibration.count, calibration.images.tobytes(), states

    expected = seen(calibration_set(files, preprocess))
    table = table_of(spark, files)
    for partitions in (1, 3, 7):
        with spark_calibration(table.repartition(partitions), preprocess, hold_out=False) as found:
            assert seen(found.calibration) == expected


def test_same_model_whatever_the_partitions(spark: SparkSession, shared_data: Path) -> None:
    """More images than the driver's sample: every scale, weight and bias of ResNet-20."""
    files, preprocess = reference_files(shared_data, "resnet20", 270, step=7), REFERENCES["resnet20"].preprocess
    make = partial(quantize_static, reference_model(shared_data, "resnet20"), preprocess=preprocess, config=QuantizationConfig())
    driver = calibration_set(files, preprocess)
    assert len(driver.images) < driver.count == 270
    expected = weights_and_scales(make(calibration=driver))
    assert len(expected) > 40
    with spark_calibration(table_of(spark, files).repartition(3), preprocess, hold_out=False) as found:
        assert weights_and_scales(make(calibration=found.calibration)) == expected


def test_states_of_many_partitions_meet_on_executors(
    spark: SparkSession, images_df: DataFrame, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In groups; the result is the same."""
    graph = fx.symbolic_trace(digits_net())
    nodes = [node for node in graph.graph.nodes if node.op == "call_module"]
    states = []
    with spark_calibration(images_df.repartition(6), PREPROCESS, hold_out=False) as found:
        for at_once in (64, 2):
            monkeypatch.setattr(calibration_pass, "_MERGED_AT_ONCE", at_once)
            states.append(found.calibration.observe(graph, nodes, CountsOf, preprocess=PREPROCESS, batch_size=16).dumps())
    assert states[0] == states[1]


def test_quantize_takes_a_dataframe(spark: SparkSession, images_df: DataFrame, files: dict[str, bytes]) -> None:
    """And makes of it what it makes of the same images in a list."""
    with spark_calibration(images_df.repartition(3), PREPROCESS, hold_out=False) as found:
        first = quantize(digits_net(), calibration=found.calibration, preprocess=PREPROCESS, name="digits").manifest
    second = quantize(digits_net(), calibration=list(files.values()), preprocess=PREPROCESS, name="digits").manifest
    assert first.calibration_images == second.calibration_images == len(files)
    assert first.calibration_fingerprint == second.calibration_fingerprint
    assert first.golden == second.golden and first.accuracy == second.accuracy


def test_the_librarys_quantize_holds_images_of_a_dataframe_out(images_df: DataFrame, files: dict[str, bytes]) -> None:
    """And measures on them."""
    manifest = sparkq.quantize(digits_net(), calibration=images_df.repartition(3), preprocess=PREPROCESS).manifest
    assert (manifest.calibration_images, manifest.accuracy["images"]) == (len(files) * 4 // 5, len(files) // 5)
    assert manifest.accuracy["expected_loss"] <= 0.5


def test_nothing_stays_persisted(spark: SparkSession, images_df: DataFrame) -> None:
    before = len(spark.sparkContext._jsc.getPersistentRDDs())  # type: ignore[union-attr]
    with spark_calibration(images_df, PREPROCESS, images=10):
        assert len(spark.sparkContext._jsc.getPersistentRDDs()) == before + 1  # type: ignore[union-attr]
    assert len(spark.sparkContext._jsc.getPersistentRDDs()) == before  # type: ignore[union-attr]


@pytest.mark.parametrize(("images", "hold_out", "calibrated", "held_out"), [
    (10, True, 10, 50), (40, True, 32, 8), (None, True, 48, 12), (9, True, 9, 51), (60, False, 60, 0), (1000, False, 60, 0),
])
def test_how_many(
    images_df: DataFrame, images: int | None, hold_out: bool, calibrated: int, held_out: int,
) -> None:
    """Sixty images. What is measured on was not calibrated on."""
    with spark_calibration(images_df, PREPROCESS, images=images, hold_out=hold_out) as found:
        chosen, measured = pixels_of(found)
        assert found.calibration.count == len(chosen) == calibrated
        if held_out:
            assert len(measured) == held_out and not chosen & measured


def test_few_images_serve_both(images_df: DataFrame) -> None:
    with spark_calibration(images_df.limit(9), PREPROCESS) as found:
        chosen, measured = pixels_of(found)
        assert chosen == measured and len(chosen) == 9


def test_same_choice_every_time(spark: SparkSession, folder: Path, images_df: DataFrame) -> None:
    """By path, from files as from a table, however they are cut; a smaller choice is part of a larger one."""
    for df in (read_images(spark, str(folder)), images_df):
        chosen = []
        for cut, images in ((df, 20), (df.repartition(5), 20), (df, 10)):
            with spark_calibration(cut, PREPROCESS, images=images, hold_out=False) as found:
                chosen.append(pixels_of(found)[0])
        assert chosen[0] == chosen[1] and len(chosen[0]) == 20
        assert chosen[2] < chosen[0] and len(chosen[2]) == 10


@pytest.mark.parametrize("with_empty_file", [False, True], ids=["one_scan", "behind_a_union"])
def test_only_chosen_files_are_opened(
    spark: SparkSession, tmp_path: Path, with_empty_file: bool, caplog: pytest.LogCaptureFixture,
) -> None:
    """What cannot be opened any more after it was listed does no harm, unless it was chosen."""
    for index, image in enumerate(noise(12)):
        (tmp_path / f"an image {index}.png").write_bytes(encoded(image))
    if with_empty_file:
        (tmp_path / "empty.png").touch()
    images_df = read_images(spark, str(tmp_path))
    with spark_calibration(images_df, SMALL, images=5, hold_out=False) as found:
        chosen = pixels_of(found)[0]
    assert len(chosen) == 5
    for path in tmp_path.glob("*image*.png"):
        if preprocess_content(path.read_bytes(), SMALL).tobytes() not in chosen:
            path.unlink()
            path.mkdir()
    with spark_calibration(images_df, SMALL, images=5, hold_out=False) as found:
        assert pixels_of(found)[0] == chosen
    assert "left out" not in caplog.text


def test_table_of_saved_files(spark: SparkSession, folder: Path, tmp_path: Path) -> None:
    """With the columns of files: its bytes are in it, and its paths need not be there any more."""
    table = read_images(spark, str(folder)).withColumn("path", F.concat(F.lit("/gone"), "path"))
    table.repartition(3).write.parquet(str(tmp_path / "table"))
    with spark_calibration(read_images(spark, str(tmp_path / "table")), PREPROCESS, images=7, hold_out=False) as found:
        assert found.calibration.count == 7


def test_tables_without_paths(spark: SparkSession, images_df: DataFrame, tmp_path: Path) -> None:
    """Chosen by content; also from Spark's image struct."""
    photos = images_df.selectExpr("content as photo")
    sets = []
    for partitions in (1, 4):
        with spark_calibration(photos.repartition(partitions), PREPROCESS, images=7, hold_out=False) as found:
            sets.append(pixels_of(found)[0])
    assert sets[0] == sets[1] and len(sets[0]) == 7
    for index, image in enumerate(noise(2)):
        (tmp_path / f"{index}.png").write_bytes(encoded(image))
    with spark_calibration(spark.read.format("image").load(str(tmp_path)), SMALL, images=7) as found:
        assert pixels_of(found)[0] == {image.tobytes() for image in noise(2)}


def test_fewer_than_asked(spark: SparkSession, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "sparkq"):
        with spark_calibration(read_images(spark, str(folder)), PREPROCESS, images=1000, place="scans"):
            pass
    assert "scans holds 60 images; 1000 were asked for" in caplog.text


def test_images_that_do_not_decode(spark: SparkSession, caplog: pytest.LogCaptureFixture) -> None:
    """Left out, and counted once by code, as on the driver."""
    broken = [content for content, _ in broken_files().values()]
    files = [encoded(image) for image in noise(12)]
    with spark_calibration(table_of(spark, [*broken, *files]), SMALL, hold_out=False) as found:
        on_spark = [record.getMessage() for record in caplog.records]
        expected = calibration_set([*broken, *files], SMALL)
    assert [record.getMessage() for record in caplog.records] == on_spark * 2 and len(on_spark) == 1
    assert found.calibration.fingerprint == expected.fingerprint
    assert np.array_equal(found.calibration.images, expected.images)


def test_nothing_to_calibrate_on(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        with spark_calibration(read_images(spark, str(tmp_path)), SMALL, images=5, place=str(tmp_path)):
            pass
    assert_clear(caught.value, str(tmp_path), "expected images")
    with pytest.raises(InputError) as caught:
        with spark_calibration(table_of(spark, [b"no image", b""]), SMALL):
            pass
    assert_clear(caught.value, "2 could not be decoded")


def test_a_model_that_cannot_travel(spark: SparkSession) -> None:
    """One sentence on the driver, before anything is sent."""
    graph = fx.symbolic_trace(FailsOnWhite())
    files = [encoded(image) for image in noise(5, high=200)]
    with spark_calibration(table_of(spark, files), SMALL, hold_out=False) as found, pytest.raises(ModelError) as caught:
        found.calibration.observe(graph, list(graph.graph.nodes)[:-1], CountsOf, preprocess=SMALL, batch_size=4)
    assert_clear(caught.value, "operators that a program can hold")


def test_the_gate_needs_no_second_decode(spark: SparkSession, images_df: DataFrame) -> None:
    """A set is used again and again: a second artifact of it is the first."""
    config = QuantizationConfig(observer="auto")
    with spark_calibration(images_df, PREPROCESS, images=40) as found:
        first, second = (
            quantize(digits_net(), calibration=found.calibration, preprocess=PREPROCESS, config=config) for _ in range(2)
        )
    assert first.manifest.golden == second.manifest.golden
