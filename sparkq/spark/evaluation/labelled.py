"""Images beside what is known of them."""
from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import DataType, StringType, StructField, StructType

from sparkq.errors import InputError
from sparkq.redaction import get_logger
from sparkq.spark.input.paths import canonical, spark_path
from sparkq.storage import canonical_path, is_uri

__all__ = ["LabelledImages"]

_logger = get_logger(__name__)


@dataclass(frozen=True)
class LabelledImages:
    """The labels of a file, to be joined with images.

    Parameters
    ----------
    labels : str
        The file; its paths are relative to it, or absolute.
    truth : mapping
        Path, as it stands in the file, to what is known of the image.
    kind : DataType
        Spark's type of that.
    """

    labels: str
    truth: Mapping[str, Any]
    kind: DataType

    def join(self, images_df: DataFrame) -> DataFrame:
        """The images that the file names, with columns ``__origin`` (path) and ``__truth``.

        Raises
        ------
        InputError
            If the images have no path.
        """
        if "path" not in images_df.columns:
            raise InputError(
                f"images: expected a column 'path' to match with labels; got {', '.join(images_df.columns)}.",
                hint="add a column path, as `sparkq.read_images` has it.",
            )
        schema = StructType([StructField("__origin", StringType()), StructField("__truth", self.kind)])
        truth_df = images_df.sparkSession.createDataFrame(list(self._by_origin().items()), schema)
        return images_df.withColumn("__origin", canonical(F.col("path"))).join(F.broadcast(truth_df), "__origin")

    def _by_origin(self) -> dict[str, Any]:
        folder = os.path.dirname(self.labels) if is_uri(self.labels) else os.path.dirname(os.path.abspath(self.labels))
        resolved = {
            path if is_uri(path) or os.path.isabs(path) else os.path.join(folder, os.path.normpath(path)): known
            for path, known in self.truth.items()
        }
        return {canonical_path(spark_path(path)): known for path, known in resolved.items()}

    def require_found(self, images: int, errors: int) -> None:
        """Warn of images that are not in the input, of which `images` were compared and `errors` could not be.

        Raises
        ------
        InputError
            If none was compared.
        """
        if images == 0:
            raise InputError(
                f"labels {self.labels}: expected images of the input among its {len(self.truth)} paths; none of them is there "
                f"and readable (first path: {next(iter(self._by_origin()))}).",
                hint="paths in the CSV are relative to the CSV file.",
            )
        missing = len(self.truth) - images - errors
        if missing > 0:
            _logger.warning("labels %s: %d of its %d images are not in the input", self.labels, missing, len(self.truth))
