"""Where images come from: directories of files, Parquet with bytes, and lists of uris."""
from __future__ import annotations

import os
import re
from typing import Any

from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]  # it ships no types
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from sparkq.errors import InputError
from sparkq.spark.input.empty_files import with_empty_files
from sparkq.spark.session.actions import run_action
from sparkq.spark.session.failures import root_message
from sparkq.spark.session.hadoop import hadoop_path
from sparkq.storage import is_uri

__all__ = [
    "comparable_path", "count_images", "escaped_path", "is_file_source", "read_files", "read_images", "read_listed", "spark_path",
]

_LISTING_TASKS = "spark.sql.sources.parallelPartitionDiscovery.parallelism"
_GLOB_CHARACTERS = r"([\\{}\[\]*?])"


def spark_path(path: str) -> str:
    """A path as Spark shall read it: local ones made absolute, whatever ``fs.defaultFS`` is; S3 by Hadoop's name."""
    if not is_uri(path):
        return "file://" + os.path.abspath(path)
    # EMR reads s3:// itself; open-source Spark knows S3 as s3a://.
    if path.startswith("s3://") and "EMR_RELEASE_LABEL" not in os.environ:
        return "s3a://" + path.removeprefix("s3://")
    return path


def comparable_path(path: Any) -> Any:
    """One spelling of a path, of a str or of a Spark column: ``/x`` for ``file:///x``, ``s3://`` for ``s3a://``."""
    for pattern, spelling in ((r"^file:/+", "/"), (r"^s3[an]://", "s3://")):
        path = re.sub(pattern, spelling, path) if isinstance(path, str) else F.regexp_replace(path, pattern, spelling)
    return path


def read_images(
    spark: SparkSession, path: str, *, input_format: str = "auto", glob: str | None = None,
) -> DataFrame:
    """Read images as a DataFrame.

    Parameters
    ----------
    spark : SparkSession
        A classic session.
    path : str
        A directory (searched recursively), one file, Parquet with a binary column, or a list of uris; local path or uri.
    input_format : str
        ``images``, ``parquet``, or ``auto``: Parquet if `path` ends in ``.parquet`` or is a folder of such files. A folder with
        ``_delta_log`` is read by Delta Lake, which knows the files that still count. ``uri``: Parquet with a string column of
        uris, or a text file with one a line; there, blank lines are skipped, and a relative path is relative to the text file.
    glob : str, optional
        Only files whose name matches, e.g. ``*.jpg``. Without it every file counts as an image: one that is none
        becomes an error row, it does not vanish.

    Returns
    -------
    DataFrame
        ``path, modificationTime, length, content`` for files; ``uri`` for a text file; a Parquet's own columns otherwise.

    Raises
    ------
    InputError
        If there is nothing at `path`.
    """
    plain = spark_path(path)
    location = _literal(spark, plain)
    if input_format == "auto":
        input_format = "parquet" if _is_parquet(spark, plain) else "images"
    elif input_format == "uri" and _is_parquet(spark, plain):
        input_format = "parquet"
    try:
        if input_format == "parquet":
            return spark.read.format("delta").load(plain) if _is_delta(spark, plain) else spark.read.parquet(location)
        if input_format == "uri":
            return _listed_uris(spark, path, location)
        reader = spark.read.format("binaryFile").option("recursiveFileLookup", "true")
        if glob is not None:
            reader = reader.option("pathGlobFilter", glob)
        return with_empty_files(reader.load(location))
    except (PySparkException, Py4JJavaError) as error:
        if "DATA_SOURCE_NOT_FOUND" in str(error):
            raise InputError(
                f"input {path}: expected a session with Delta Lake for a folder with _delta_log; got one without.",
                hint="spark-submit --packages io.delta:delta-spark_2.13:VERSION, or give a plain Parquet folder.",
            ) from error
        if "PATH_NOT_FOUND" in str(error):
            raise InputError(f"input {path}: expected images; got no such path.", hint="check the path.") from error
        raise InputError(f"input {path}: expected {input_format}; got {root_message(error)}.") from error


def _listed_uris(spark: SparkSession, path: str, location: str) -> DataFrame:
    lines = spark.read.text(location).select(F.trim(F.regexp_replace("value", "\\s+$", "")).alias("uri")).where("uri != ''")
    listed, filesystem = hadoop_path(spark, spark_path(path))
    if not filesystem.exists(listed) or not filesystem.getFileStatus(listed).isFile():
        # Of several files together nobody says which folder is meant: a relative path becomes an error row.
        return lines
    folder = os.path.dirname(path if is_uri(path) else os.path.abspath(path))
    absolute = F.col("uri").rlike(r"^(/|[A-Za-z][A-Za-z0-9+.-]+:/)")
    return lines.select(F.when(absolute, F.col("uri")).otherwise(F.concat(F.lit(f"{folder}/"), F.col("uri"))).alias("uri"))


def read_files(spark: SparkSession, paths: list[str]) -> DataFrame:
    """The files at exactly these paths, which must be there, as ``binaryFile`` rows."""
    return spark.read.format("binaryFile").load([escaped_path(path) for path in paths])


def read_listed(paths: DataFrame, images_df: DataFrame) -> tuple[DataFrame, int]:
    """The files of `images_df` at `paths`, a DataFrame of one column, and how many. Runs it.

    The paths stay in the driver's JVM, which holds the listing of all files anyway: no Python list is made of them.
    """
    spark = paths.sparkSession
    jvm: Any = spark.sparkContext._jvm
    escaped = paths.select(F.regexp_replace(paths.columns[0], _GLOB_CHARACTERS, r"\\$1"))
    strings = getattr(escaped._jdf, "as")(jvm.org.apache.spark.sql.Encoders.STRING())
    listed = run_action(strings.collectAsList)
    if listed.isEmpty():
        return images_df.limit(0), 0
    reader = spark.read.format("binaryFile").option("recursiveFileLookup", "true")._jreader
    # Spark looks each file up in a job of its own, of up to 10 000 tasks by default: one a file.
    before = spark.conf.get(_LISTING_TASKS, None)
    spark.conf.set(_LISTING_TASKS, str(4 * spark.sparkContext.defaultParallelism))
    try:
        loaded = run_action(lambda: reader.load(jvm.PythonUtils.toSeq(listed)))
    finally:
        if before is None:
            spark.conf.unset(_LISTING_TASKS)
        else:
            spark.conf.set(_LISTING_TASKS, before)
    return with_empty_files(DataFrame(loaded, spark)), int(listed.size())


def is_file_source(df: DataFrame) -> bool:
    """Whether `df` is what `read_images` gives of files, nothing done to it: its bytes are those at its paths."""
    plan = df._jdf.queryExecution().analyzed()
    # The files of zero bytes are joined on as rows of their own.
    if plan.nodeName() == "Union" and plan.children().size() == 2 and "LogicalRDD" in plan.children().last().toString():
        plan = plan.children().head()
    return bool(plan.nodeName() == "LogicalRelation" and plan.relation().toString() == "binaryFile")


def _literal(spark: SparkSession, location: str) -> str:
    """Spark takes every path for a glob pattern; one that is there as it stands is no pattern."""
    path, filesystem = hadoop_path(spark, location)
    return escaped_path(location) if filesystem.exists(path) else location


def escaped_path(location: str) -> str:
    """`location` as a glob pattern that matches nothing else."""
    return re.sub(_GLOB_CHARACTERS, r"\\\1", location)


def _is_delta(spark: SparkSession, location: str) -> bool:
    log, filesystem = hadoop_path(spark, f"{location.rstrip('/')}/_delta_log")
    return bool(filesystem.exists(log))


def _is_parquet(spark: SparkSession, location: str) -> bool:
    if location.rstrip("/").endswith((".parquet", ".parq")) or _is_delta(spark, location):
        return True
    folder, filesystem = hadoop_path(spark, location)
    if not filesystem.exists(folder) or not filesystem.getFileStatus(folder).isDirectory():
        return False
    # An iterator, and only until the first file that says what the folder is: it may hold millions.
    statuses = filesystem.listStatusIterator(folder)
    while statuses.hasNext():
        status = statuses.next()
        name = status.getPath().getName()
        if status.isFile() and not name.startswith(("_", ".")):
            return bool(name.endswith(".parquet"))
    return False


def count_images(df: DataFrame, path: str) -> int:
    """Rows of `read_images`, from metadata alone: ``content`` is not selected, so no image is opened.

    Raises
    ------
    InputError
        If there is none.
    """
    images = run_action(df.count)
    if images == 0:
        raise InputError(f"input {path}: expected images; got none.", hint="check the path and the glob.")
    return images
