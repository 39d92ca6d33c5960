"""The run manifest: what a job did, beside its output."""
from __future__ import annotations

import datetime
import json
import secrets
from typing import Any

from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]  # it ships no types
from pyspark.sql import SparkSession

from sparkq.errors import InputError
from sparkq.spark.failures import root_message
from sparkq.spark.hadoop import hadoop_path
from sparkq.spark.sources import spark_path

__all__ = ["RUNS_FOLDER", "new_run_id", "write_run"]

RUNS_FOLDER = "_sparkq"
"""Inside the output; Spark, pyarrow and Hive take no notice of folders that begin with ``_``."""


def new_run_id() -> str:
    """Start of the run in UTC, and a suffix that two runs of one second do not share."""
    return f"{datetime.datetime.now(datetime.timezone.utc):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"


def write_run(spark: SparkSession, output: str, run_id: str, run: dict[str, Any]) -> None:
    """Write ``OUTPUT/_sparkq/RUN_ID.json``, after everything else; it appears whole or not at all. On the driver.

    Parameters
    ----------
    spark : SparkSession
        Whose filesystems are used, so that every output that Spark can write takes it.
    output : str
        Folder of the predictions.
    run_id : str
        From `new_run_id`.
    run : dict
        Plain JSON values.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    folder = f"{spark_path(output).rstrip('/')}/{RUNS_FOLDER}"
    target, filesystem = hadoop_path(spark, f"{folder}/{run_id}.json")
    temporary, _ = hadoop_path(spark, f"{folder}/.{run_id}.json.tmp")
    try:
        stream = filesystem.create(temporary, True)
        try:
            stream.write(bytearray(json.dumps(run, indent=1, ensure_ascii=False).encode()))
        finally:
            stream.close()
        if not filesystem.rename(temporary, target):
            raise InputError(f"run manifest {folder}/{run_id}.json: expected to rename its temporary file; got a refusal.")
    except Py4JJavaError as error:
        raise InputError(
            f"run manifest {folder}/{run_id}.json: expected a writable place; got {root_message(error)}.",
            hint="the predictions themselves are complete.",
        ) from error
