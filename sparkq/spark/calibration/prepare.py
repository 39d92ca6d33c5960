"""Calibration on Spark: executors decode as inference does and run the observed model; the driver merges and keeps a sample."""
from __future__ import annotations

import heapq
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark import StorageLevel
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkq.config import DecodeLimits, PreprocessConfig
from sparkq.errors import InputError
from sparkq.quantization.calibration.image_set import SAMPLE_IMAGES, CalibrationSet, fingerprint_of, image_digest, report_broken
from sparkq.redaction import get_logger
from sparkq.spark.calibration.choose import choose_images
from sparkq.spark.calibration.passes import SparkImages
from sparkq.spark.input.columns import find_content_column
from sparkq.spark.predict.planning import with_planned_partitions
from sparkq.spark.session.actions import run_action
from sparkq.spark.session.failures import expected_failure
from sparkq.worker.decode_batches import decode_column
from sparkq.worker.rebatch import rebatch

__all__ = ["SparkCalibration", "spark_calibration"]

_logger = get_logger(__name__)
_DECODED_AT_ONCE = 64
_ROW = "held_out boolean, digest binary, pixels binary, error_code string"
_SUMMARY = "images long, digest_sum binary, smallest array<binary>, error_codes string"


@dataclass(frozen=True)
class SparkCalibration:
    """Calibration images, and images to measure on, as `spark_calibration` prepares them.

    Parameters
    ----------
    calibration : CalibrationSet
        Its images stay on executors; usable until the context ends.
    held_out : ndarray of uint8 [N, H, W, 3]
        Preprocessed images to measure on, N at most 500. Never calibrated on, unless there are too few to part them.
    """

    calibration: CalibrationSet
    held_out: npt.NDArray[np.uint8]


@contextmanager
def spark_calibration(
    images_df: DataFrame, preprocess: PreprocessConfig, *, images: int | None = None, hold_out: bool = True,
    content_column: str | None = None, limits: DecodeLimits | None = None, place: str = "of the DataFrame",
) -> Iterator[SparkCalibration]:
    """Choose, decode and preprocess calibration images on executors, and keep them there while the context lasts.

    Parameters
    ----------
    images_df : DataFrame
        With encoded images in a binary column, or with Spark's image struct; of any size.
    preprocess : PreprocessConfig
        The model's preprocessing.
    images : int, optional
        How many to calibrate on, chosen by a hash of their path (of their content, where there is no path): the same ones every
        time. Images of the same content are chosen together. Of files, only the chosen ones are opened. None means all.
    hold_out : bool
        Also choose images to measure on: the next ones by that hash, at most 500; where fewer than 50 are left, every fifth
        image of those asked for is held out instead of calibrated on; of fewer than ten all serve both.
    content_column : str, optional
        The image column; default: ``content``, or the only one that fits.
    place : str
        Where the images are, for messages.
    limits : DecodeLimits, optional
        Default: those of inference. Images that do not decode are left out, with a warning that counts them.

    Yields
    ------
    SparkCalibration
        On the driver.

    Raises
    ------
    InputError
        If there is no image column, or no image that decodes.
    """
    column = find_content_column(images_df.schema, content_column)
    choice = choose_images(images_df, column, images=images, hold_out=hold_out)
    if choice.found == 0:
        raise InputError(f"calibration input {place}: expected images; got none.", hint="check the path and the glob.")
    if choice.found is not None:
        _logger.info("calibration: %s holds %d images; %d were asked for", place, choice.found, images)
    decode = partial(_decode, preprocess=preprocess, limits=limits or DecodeLimits())
    chosen = choice.images_df if choice.chosen is None else with_planned_partitions(choice.images_df, images=choice.chosen)
    decoded = chosen.mapInArrow(decode, _ROW).persist(StorageLevel.MEMORY_AND_DISK)
    try:
        yield _prepared(decoded, (*preprocess.input_size, 3))
    finally:
        decoded.unpersist()


def _prepared(decoded: DataFrame, shape: tuple[int, int, int]) -> SparkCalibration:
    calibrating = decoded.where("error_code is null and not held_out")
    summary = _Summary.of(decoded)
    report_broken(summary.broken, summary.images)
    # Copies of an image have one digest, and are in the sample as often as in the set.
    last = summary.smallest[-1]
    wanted = decoded.where(F.col("error_code").isNull() & (F.col("held_out") | (F.col("digest") <= F.lit(last))))
    rows = _collected(wanted.select("held_out", "digest", "pixels"))
    found = sorted(((bytes(row["digest"]), bytes(row["pixels"]), row["held_out"]) for row in rows), key=lambda row: row[0])
    sample, held_out = (
        np.array([np.frombuffer(pixels, np.uint8) for _, pixels, held in found if held == wanted], np.uint8).reshape(-1, *shape)
        for wanted in (False, True)
    )
    whole = SparkImages(calibrating.select("pixels"), summary.images, sample[0])
    calibration = CalibrationSet(sample[:SAMPLE_IMAGES], fingerprint_of(summary.digest_sum, summary.images), whole)
    return SparkCalibration(calibration, held_out if len(held_out) else calibration.images)


@dataclass(frozen=True)
class _Summary:
    images: int
    digest_sum: int
    smallest: list[bytes]
    broken: Counter[str]

    @classmethod
    def of(cls, decoded: DataFrame) -> _Summary:
        rows = _collected(decoded.select("held_out", "digest", "error_code").mapInArrow(_summarize, _SUMMARY))
        smallest = heapq.nsmallest(SAMPLE_IMAGES, (bytes(digest) for row in rows for digest in row["smallest"]))
        broken: Counter[str] = sum((Counter(json.loads(row["error_codes"])) for row in rows), Counter())
        return cls(
            sum(row["images"] for row in rows), sum(int.from_bytes(row["digest_sum"], "big") for row in rows), smallest, broken,
        )


def _collected(df: DataFrame) -> list[Any]:
    try:
        return run_action(df.collect)
    except PySparkException as error:
        raise expected_failure(error) or error from error


def _decode(
    batches: Iterable[pa.RecordBatch], *, preprocess: PreprocessConfig, limits: DecodeLimits,
) -> Iterator[pa.RecordBatch]:
    for batch in rebatch(iter(batches), _DECODED_AT_ONCE):
        decoded = decode_column(batch.column("content"), preprocess, limits=limits)
        pixels: list[bytes | None] = [None] * batch.num_rows
        digests: list[bytes | None] = [None] * batch.num_rows
        for row, image in zip(decoded.rows, decoded.images, strict=True):
            pixels[row], digests[row] = image.tobytes(), image_digest(image)
        codes = [decoded.errors[row].code if row in decoded.errors else None for row in range(batch.num_rows)]
        arrays = [
            batch.column("held_out"), pa.array(digests, pa.binary()), pa.array(pixels, pa.binary()), pa.array(codes, pa.string()),
        ]
        yield pa.RecordBatch.from_arrays(arrays, names=["held_out", "digest", "pixels", "error_code"])


def _summarize(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """One row a partition: it grows with neither the number of images nor their size."""
    images, digest_sum, smallest, broken = 0, 0, list[bytes](), Counter[str]()
    for batch in batches:
        for held_out, digest, code in zip(*(batch.column(index).to_pylist() for index in range(3)), strict=True):
            if code is not None:
                broken[code] += 1
            elif not held_out:
                images += 1
                digest_sum = (digest_sum + int.from_bytes(digest, "big")) % 2**256
                smallest.append(digest)
        smallest = heapq.nsmallest(SAMPLE_IMAGES, smallest)
    arrays = [
        pa.array([images], pa.int64()), pa.array([digest_sum.to_bytes(32, "big")], pa.binary()),
        pa.array([smallest], pa.list_(pa.binary())), pa.array([json.dumps(broken)], pa.string()),
    ]
    yield pa.RecordBatch.from_arrays(arrays, names=["images", "digest_sum", "smallest", "error_codes"])
