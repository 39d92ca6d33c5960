"""Spark's side of the row contract, and which column holds the images."""
from __future__ import annotations

from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.types import BinaryType, DataType, StringType, StructField, StructType

from sparkq.config import InferenceConfig
from sparkq.errors import InputError
from sparkq.model_tasks.columns import prediction_fields

__all__ = ["added_fields", "find_content_column", "find_image_column", "find_uri_column", "output_schema"]

_IMAGE_STRUCT_FIELDS = {"height", "width", "nChannels", "mode", "data"}


def added_fields(model_task: str) -> StructType:
    """The columns that `sparkq.model_tasks.columns` adds to a row, as Spark's types."""
    fields: StructType = from_arrow_schema(prediction_fields(model_task))
    return fields


def _is_image_struct(kind: DataType) -> bool:
    return isinstance(kind, StructType) and set(kind.names) >= _IMAGE_STRUCT_FIELDS


def find_content_column(schema: StructType, content_column: str | None) -> str:
    """Name of the column with the images.

    Parameters
    ----------
    schema : StructType
        Of the image DataFrame.
    content_column : str, optional
        What the user asked for; None looks for ``content``, then for the only column of a fitting type.

    Raises
    ------
    InputError
        If there is no such column, or it holds no images.
    """
    columns = ", ".join(f"{field.name} {field.dataType.simpleString()[:40]}" for field in schema)
    fitting = [field.name for field in schema if isinstance(field.dataType, BinaryType) or _is_image_struct(field.dataType)]
    if content_column is None:
        if "content" in schema.names:
            content_column = "content"
        elif len(fitting) == 1:
            return fitting[0]
        else:
            raise InputError(
                f"images: expected one column of encoded images (binary) or of Spark's image struct; got {len(fitting)} "
                f"among: {columns}.",
                hint="name it: InferenceConfig(content_column=...) or --content-column.",
            )
    if content_column not in schema.names:
        raise InputError(
            f"images: expected a column {content_column!r}; got: {columns}.",
            hint="name one of these with --content-column.",
        )
    if content_column not in fitting:
        raise InputError(
            f"images: expected column {content_column!r} to be binary (encoded images) or Spark's image struct; got "
            f"{schema[content_column].dataType.simpleString()}.",
            hint="read the files' bytes, for example with spark.read.format('binaryFile').",
        )
    return content_column


def find_image_column(schema: StructType, config: InferenceConfig) -> str:
    """Name of the column with the images, or with their uris where `config` has a ``uri_column``.

    Raises
    ------
    InputError
        If there is no such column, or it is of another type.
    """
    if config.uri_column is not None:
        return find_uri_column(schema, config.uri_column)
    return find_content_column(schema, config.content_column)


def find_uri_column(schema: StructType, uri_column: str | None) -> str:
    """Name of the column with uris; None looks for ``uri``, then for the only string.

    Raises
    ------
    InputError
        If there is no such column, or it holds no strings.
    """
    columns = ", ".join(f"{field.name} {field.dataType.simpleString()[:40]}" for field in schema)
    fitting = [field.name for field in schema if isinstance(field.dataType, StringType)]
    if uri_column is None:
        if "uri" in fitting or len(fitting) == 1:
            return "uri" if "uri" in fitting else fitting[0]
        raise InputError(
            f"uris: expected one string column of paths or uris; got {len(fitting)} among: {columns}.",
            hint="name it: InferenceConfig(uri_column=...) or --uri-column.",
        )
    if uri_column not in fitting:
        raise InputError(
            f"uris: expected a string column {uri_column!r} of paths or uris; got: {columns}.", hint="check the name.",
        )
    return uri_column


def output_schema(schema: StructType, content_column: str | None, *, model_task: str) -> StructType:
    """Input columns without the image bytes (None: there are none), then the `added_fields` of a task.

    Raises
    ------
    InputError
        If an input column has the name of one that is added.
    """
    added = added_fields(model_task)
    kept: list[StructField] = []
    for field in schema:
        if field.name == content_column:
            if not isinstance(field.dataType, StructType):
                continue
            rest = StructType([part for part in field.dataType if part.name != "data"])
            field = StructField(field.name, rest, field.nullable)
        kept.append(field)
    clashing = [field.name for field in kept if field.name.lower() in {name.lower() for name in added.names}]
    if clashing:
        raise InputError(
            f"images: expected no column named like one that sparkq adds; got {', '.join(clashing)}.",
            hint=f"rename it first, for example df.withColumnRenamed({clashing[0]!r}, 'true_{clashing[0]}').",
        )
    return StructType([*kept, *added])
