"""Make full batches of pixels of record batches with images, or with uris of images: the first half of a task's work.

Rows are decoded as they come, so that what is in memory is one record batch of Spark's and pixels at the model's input size,
however large the images are and however few of them come at once.
"""
from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sparkq.config import DecodeLimits, InferenceConfig, PreprocessConfig
from sparkq.errors import ImageError
from sparkq.images.preprocess import ImageGeometry, preprocess_with_geometry
from sparkq.images.read import ReadObject, read_object, read_objects
from sparkq.worker.predictor import Predictor
from sparkq.worker.prefetch import prefetched

__all__ = ["PREFETCHED_BYTES", "DecodedBatch", "decode_column", "decoded_batches", "without_content"]

PREFETCHED_BYTES = 16 * 2**20
"""Pixels that wait for the engine: six batches of 16 images at 224 x 224."""

Content = bytes | memoryview | dict[str, Any] | ImageError | None


@dataclass(frozen=True)
class DecodedBatch:
    """Pixels of the rows that could be decoded, and why the others could not.

    Parameters
    ----------
    images : ndarray of uint8 [M, H, W, 3]
        Only the rows that decoded, in order.
    rows : list of int
        Row of each image, length M.
    errors : dict of int to ImageError
        Row to error, for all others.
    geometries : list of ImageGeometry
        Where each image lies in its original, length M.
    columns : list of RecordBatch
        The rows' other columns, without the image bytes; none where there is no other column.
    """

    images: npt.NDArray[np.uint8]
    rows: list[int]
    errors: dict[int, ImageError]
    geometries: list[ImageGeometry]
    columns: list[pa.RecordBatch] = field(default_factory=list)

    @property
    def row_count(self) -> int:
        """Rows, decoded or not."""
        return len(self.rows) + len(self.errors)

    @property
    def byte_count(self) -> int:
        """Bytes that it takes in memory."""
        return self.images.nbytes + sum(int(batch.nbytes) for batch in self.columns)


class _Filling:
    """A batch that rows are decoded into."""

    def __init__(self, rows: int, preprocess: PreprocessConfig, limits: DecodeLimits) -> None:
        self._images = np.empty((rows, *preprocess.input_size, 3), np.uint8)
        self._preprocess, self._limits = preprocess, limits
        self._rows: list[int] = []
        self._errors: dict[int, ImageError] = {}
        self._geometries: list[ImageGeometry] = []
        self._columns: list[pa.RecordBatch] = []
        self.count = 0

    def add(self, content: Content) -> None:
        """Decode one row's image straight to its place."""
        try:
            if isinstance(content, ImageError):
                raise content
            self._images[len(self._rows)], geometry = preprocess_with_geometry(
                content, self._preprocess, limits=self._limits,
            )
            self._rows.append(self.count)
            self._geometries.append(geometry)
        except ImageError as error:
            # Its traceback would keep the image's bytes.
            self._errors[self.count] = error.with_traceback(None)
        self.count += 1

    def keep(self, columns: pa.RecordBatch) -> None:
        """Other columns of the rows that were added. Copied, as a slice would keep all that Spark sent with it."""
        if columns.num_columns and columns.num_rows:
            self._columns.append(columns.take(pa.array(range(columns.num_rows), pa.int64())))

    def finish(self) -> DecodedBatch:
        return DecodedBatch(self._images[:len(self._rows)], self._rows, self._errors, self._geometries, self._columns)


def decode_column(content: pa.Array, preprocess: PreprocessConfig, *, limits: DecodeLimits) -> DecodedBatch:
    """Decode, resize and crop a binary or image-struct column into one batch."""
    filling = _Filling(len(content), preprocess, limits)
    for scalar in content:
        filling.add(_value(scalar))
    return filling.finish()


def _value(scalar: pa.Scalar) -> memoryview | dict[str, Any] | None:
    if not scalar.is_valid:
        return None
    if pa.types.is_struct(scalar.type):
        return {name: scalar[name].as_py() for name in ("height", "width", "nChannels", "mode", "data")}
    # The buffer is a view into the record batch: no copy of the encoded image.
    return memoryview(scalar.as_buffer())


def decoded_batches(
    predictor: Callable[[], Predictor], batches: Iterator[pa.RecordBatch], *, image_column: str, config: InferenceConfig,
    read: ReadObject = read_object, prefetch_bytes: int = PREFETCHED_BYTES,
) -> Generator[tuple[Predictor, DecodedBatch], None, None]:
    """The worker's predictor with batch after batch of its size, whatever sizes Spark sends; the next ones are made meanwhile.

    Parameters
    ----------
    predictor : callable
        Gives the worker's predictor; a partition without rows loads none.
    batches : iterator of RecordBatch
        With column `image_column`, and any others.
    image_column : str
        Encoded images or Spark's image struct; uris, where `config` names a ``uri_column``.
    config : InferenceConfig
        Limits.
    read : ReadObject
        How a uri is read.
    prefetch_bytes : int
        Decoded bytes that may wait, made by a thread of their own; 0: none, and all is done in the caller's thread.
    """
    filled = (batch for batch in batches if batch.num_rows)
    for first in filled:
        model = predictor()
        made = _decoded(chain([first], filled), model, image_column, config, read)
        if prefetch_bytes:
            made = prefetched(made, size=lambda batch: batch.byte_count, max_bytes=prefetch_bytes)
        try:
            for decoded in made:
                yield model, decoded
        finally:
            made.close()


def _decoded(
    batches: Iterable[pa.RecordBatch], model: Predictor, image_column: str, config: InferenceConfig, read: ReadObject,
) -> Generator[DecodedBatch, None, None]:
    new_filling = partial(_Filling, model.batch_size, model.manifest.preprocess, config.limits)
    filling = new_filling()
    by_uri = config.uri_column is not None
    contents = _from_uris(batches, image_column, config, read) if by_uri else _from_columns(batches, image_column)
    try:
        for columns, values in contents:
            start = 0
            for row, value in enumerate(values):
                filling.add(value)
                if filling.count == model.batch_size:
                    filling.keep(columns.slice(start, row + 1 - start))
                    start = row + 1
                    yield filling.finish()
                    filling = new_filling()
            filling.keep(columns.slice(start))
        if filling.count:
            yield filling.finish()
    finally:
        contents.close()


Contents = Generator[tuple[pa.RecordBatch, Iterable[Content]], None, None]


def _from_columns(batches: Iterable[pa.RecordBatch], image_column: str) -> Contents:
    for batch in batches:
        yield without_content(batch, image_column), map(_value, batch.column(image_column))


def _from_uris(batches: Iterable[pa.RecordBatch], uri_column: str, config: InferenceConfig, read: ReadObject) -> Contents:
    """Reads run ahead over the ends of record batches."""
    ahead: deque[pa.RecordBatch] = deque()

    def uris() -> Iterator[str | None]:
        for batch in batches:
            ahead.append(batch)
            yield from batch.column(uri_column).to_pylist()

    contents = read_objects(uris(), max_bytes=config.max_image_bytes, read=read)
    try:
        for first in contents:
            batch = ahead.popleft()
            yield batch, chain([first], islice(contents, batch.num_rows - 1))
    finally:
        contents.close()


def without_content(batch: pa.RecordBatch, content_column: str) -> pa.RecordBatch:
    """A batch without its image bytes; an image struct keeps its other fields."""
    arrays: list[pa.Array] = []
    names: list[str] = []
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        if name == content_column:
            if not pa.types.is_struct(array.type):
                continue
            fields = [field for field in array.type if field.name != "data"]
            array = pa.StructArray.from_arrays(
                [array.field(field.name) for field in fields], fields=fields, mask=array.is_null(),
            )
        arrays.append(array)
        names.append(name)
    return pa.RecordBatch.from_arrays(arrays, names=names)
