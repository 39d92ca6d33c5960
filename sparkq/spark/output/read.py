"""Rows of committed runs, and nothing else: files that no manifest lists do not exist for these readers."""
from __future__ import annotations

import json
from collections.abc import Sequence
from functools import reduce

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql.types import IntegerType, StringType, StructField, StructType

from sparkq.errors import InputError
from sparkq.runs.manifest import RunManifest
from sparkq.spark.input.paths import canonical
from sparkq.spark.output.commit import output_folder
from sparkq.spark.output.committed import committed_runs
from sparkq.spark.output.strict_read import read_strictly
from sparkq.spark.session.hadoop import HadoopFolder

__all__ = ["read_predictions", "rows_of"]

_AGE, _NEWEST = "__sparkq_age", "__sparkq_newest"


def read_predictions(
    spark: SparkSession, output: str, *, all_runs: bool = False, run_id: str | None = None, model_digest: str | None = None,
    key: str = "path",
) -> DataFrame:
    """The rows of the committed runs of an output. Lazy, but for the manifests, which are read now.

    Parameters
    ----------
    spark : SparkSession
        A classic session.
    output : str
        What `write_predictions` or ``sparkq predict`` wrote to.
    all_runs : bool
        Every row of every run; else of each image those of the run that committed last.
    run_id, model_digest : str, optional
        Only this run; only runs of this model.
    key : str
        The column that says which image a row is of. Rows without it (null) are all kept.

    Returns
    -------
    DataFrame
        The rows' columns and ``run_id``.

    Raises
    ------
    InputError
        If no run is committed, none is as asked, or of several runs one has no column `key`.
    """
    folder = output_folder(spark, output)
    committed = committed_runs(folder)
    runs = [
        run for run in committed
        if run_id in (None, run.run_id) and (model_digest is None or model_digest in run.model_digests)
    ]
    if not runs:
        raise InputError(
            f"output {output}: expected a committed run{' as asked for' if committed else ''}; got "
            + (", ".join(run.run_id for run in committed[-5:]) if committed else "none") + ".",
            hint="a run is there when its job has ended; see the manifests in _sparkq/.",
        )
    rows = rows_of(folder, runs)
    return rows if all_runs or len(runs) == 1 else _newest(rows, runs, key)


def rows_of(folder: HadoopFolder, runs: Sequence[RunManifest]) -> DataFrame:
    """All rows of some committed runs, with ``run_id``; runs of other columns have nulls there."""
    alike: dict[str, list[RunManifest]] = {}
    for run in runs:
        alike.setdefault(json.dumps([run.schema, run.partition_by]), []).append(run)
    read = [_read(folder, group) for group in alike.values()]
    return reduce(lambda one, other: one.unionByName(other, allowMissingColumns=True), read)


def _read(folder: HadoopFolder, runs: Sequence[RunManifest]) -> DataFrame:
    columns = StructType.fromJson(runs[0].schema)
    schema = StructType([*columns, StructField("run_id", StringType())])
    files = [folder.at(file.path) for run in runs for file in run.files]
    if not files:
        return folder.spark.createDataFrame([], schema)
    return read_strictly(folder.spark, schema, *files, base=folder.location).select(*schema.names)


def _newest(rows: DataFrame, runs: Sequence[RunManifest], key: str) -> DataFrame:
    if key not in rows.columns:
        raise InputError(
            f"predictions: expected a column {key!r} that says which image a row is of; got {', '.join(rows.columns)}.",
            hint="name it: read_predictions(..., key=...), or read all_runs=True.",
        )
    ages = [(run.run_id, age) for age, run in enumerate(reversed(runs))]
    schema = StructType([StructField("run_id", StringType()), StructField(_AGE, IntegerType())])
    aged = rows.join(F.broadcast(rows.sparkSession.createDataFrame(ages, schema)), "run_id")
    # Not the first row: a table may hold an image more than once, and each of its rows has one.
    place = canonical(F.col(key)) if rows.schema[key].dataType == StringType() else F.col(key)
    with_newest = aged.withColumn(_NEWEST, F.min(_AGE).over(Window.partitionBy(place)))
    return with_newest.where((F.col(_AGE) == F.col(_NEWEST)) | F.col(key).isNull()).select(*rows.columns)
