"""Predictions to Parquet, and what was really committed."""
from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from sparkq.errors import InputError
from sparkq.spark.actions import run_action
from sparkq.spark.failures import expected_failure
from sparkq.spark.hadoop import hadoop_path
from sparkq.spark.sources import spark_path

__all__ = ["WrittenPredictions", "write_predictions"]


@dataclass(frozen=True)
class WrittenPredictions:
    """What a job wrote, counted from its committed files.

    Parameters
    ----------
    rows, ok, errors : int
        Rows in all, and by status.
    error_codes : dict of str to int
        Rows a code.
    engines : dict of str to int
        Rows an engine.
    seconds : float
        From the start of the write to its commit.
    """

    rows: int
    ok: int
    errors: int
    error_codes: dict[str, int]
    engines: dict[str, int]
    seconds: float

    @property
    def images_per_second(self) -> float:
        """Rows over seconds."""
        return self.rows / self.seconds if self.seconds else 0.0

    def summary(self) -> dict[str, Any]:
        """Plain JSON values, as `sparkq predict` prints them."""
        return {
            "rows": self.rows,
            "ok": self.ok,
            "errors": self.errors,
            "error_codes": self.error_codes,
            "seconds": round(self.seconds, 3),
            "images_per_second": round(self.images_per_second, 3),
        }


def write_predictions(predictions: DataFrame, output: str, *, overwrite: bool = False) -> WrittenPredictions:
    """Run a lazy `predict` and write it as Parquet.

    Parameters
    ----------
    predictions : DataFrame
        From `sparkq.predict`.
    output : str
        Folder, path or uri; it must not exist, unless `overwrite`.
    overwrite : bool
        Replace what is there.

    Raises
    ------
    InputError
        If the output exists.
    EngineError
        If a worker could not run the model.
    """
    spark = predictions.sparkSession
    location = spark_path(output)
    if not overwrite and _exists(spark, location):
        raise InputError(
            f"output {output}: expected a path that does not exist yet; got one that does.",
            hint="choose another, or --overwrite.",
        )
    started = time.perf_counter()
    try:
        run_action(partial(predictions.write.mode("overwrite" if overwrite else "errorifexists").parquet, location))
    except BaseException as error:
        if not overwrite and "PATH_ALREADY_EXISTS" not in str(error):
            # Spark aborts the tasks' files but leaves the folder, which would stop the next attempt. A folder that came
            # into being since the check above is another job's.
            _delete(spark, location)
        raise expected_failure(error) or error from error
    return _count(spark, location, time.perf_counter() - started)


def _count(spark: SparkSession, location: str, seconds: float) -> WrittenPredictions:
    grouped = spark.read.parquet(location).groupBy("status", "error_code", "engine")
    counted = run_action(grouped.agg(F.count("*").alias("rows")).collect)
    codes: Counter[str] = Counter()
    engines: Counter[str] = Counter()
    for row in counted:
        engines[row["engine"]] += row["rows"]
        if row["status"] == "error":
            codes[row["error_code"]] += row["rows"]
    rows, errors = engines.total(), codes.total()
    return WrittenPredictions(rows, rows - errors, errors, dict(sorted(codes.items())), dict(sorted(engines.items())), seconds)


def _exists(spark: SparkSession, location: str) -> bool:
    path, filesystem = hadoop_path(spark, location)
    return bool(filesystem.exists(path))


def _delete(spark: SparkSession, location: str) -> None:
    path, filesystem = hadoop_path(spark, location)
    filesystem.delete(path, True)
