"""Paths as Spark takes them, and the one spelling by which images are told apart."""
from __future__ import annotations

import os
import re

from pyspark.sql import Column
from pyspark.sql import functions as F

from sparkq.storage import COLLAPSES_SLASHES, DOUBLED_SLASHES, FILE_SCHEME, S3_ALIAS, is_uri

__all__ = ["LITERAL_PATHS", "canonical", "spark_path"]

LITERAL_PATHS = {"__globPaths__": "false"}
"""Options of a reader of Spark's that takes its paths as they stand, not as patterns; a pattern that escapes a name with a colon
is none that Hadoop understands."""


def spark_path(path: str) -> str:
    """A path as Spark shall read it: local ones made absolute, whatever ``fs.defaultFS`` is; S3 by Hadoop's name."""
    if not is_uri(path):
        return "file://" + os.path.abspath(path)
    # The root of a bucket is a folder: Hadoop takes no empty path.
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]+://[^/]+", path):
        path += "/"
    # EMR reads s3:// itself; open-source Spark knows S3 as s3a://.
    if path.startswith("s3://") and "EMR_RELEASE_LABEL" not in os.environ:
        return "s3a://" + path.removeprefix("s3://")
    return path


def canonical(path: Column) -> Column:
    """`sparkq.storage.canonical_path` of a column."""
    for pattern, spelling in ((FILE_SCHEME, ""), (S3_ALIAS, "s3://")):
        path = F.regexp_replace(path, pattern, spelling)
    return F.when(path.rlike(COLLAPSES_SLASHES), F.regexp_replace(path, DOUBLED_SLASHES, "/")).otherwise(path)
