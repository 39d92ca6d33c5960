"""How an artifact is run over images."""
from __future__ import annotations

from dataclasses import dataclass

from sparkq.config.checks import check_choice, check_positive
from sparkq.engines.registry import ENGINE_NAMES
from sparkq.errors import ConfigError

__all__ = [
    "AUTO", "DEFAULT_MAX_DECODE_BYTES", "DEFAULT_MAX_IMAGE_BYTES", "DEFAULT_MAX_IMAGE_PIXELS", "INPUT_FORMATS", "READS",
    "InferenceConfig",
]

AUTO = "auto"
"""Engine or batch size that each node finds by measurement."""

DEFAULT_MAX_IMAGE_PIXELS = 178_956_970
"""Where Pillow, too, stops believing that an image is honest: 1 GB of 24-bit RGB over 2 (``2 * Image.MAX_IMAGE_PIXELS``)."""

DEFAULT_MAX_IMAGE_BYTES = 64 * 2**20
"""Ten times the photographs of large cameras; what is larger is seldom an image, and would fill a worker."""

DEFAULT_MAX_DECODE_BYTES = 200 * 10**6
"""Beside ResNet-50 (450 MB), reads that wait and pixels that wait, a worker stays below 700 MB."""

INPUT_FORMATS = ("auto", "images", "parquet", "uri")
READS = ("auto", "workers", "spark")


@dataclass(frozen=True)
class InferenceConfig:
    """How an artifact is run over an image DataFrame.

    Parameters
    ----------
    engine : str, optional
        The engine that runs the payload, a name of `sparkq.engines.registry`. Default: the first that fits. ``auto``: the
        fastest, which each node measures.
    batch_size : int or str
        Images a forward pass. ``auto``: the smallest within 3 % of the fastest; with layers in float it is the default,
        because their predictions are the same at one batch size only.
    top_k : int
        Length of the ``top_k`` column; at most the number of classes.
    max_image_pixels : int
        An image with more pixels than this is an error row (``image_too_large``) and is never decoded.
    max_image_bytes : int
        A larger file is an error row (``image_too_large``); where workers read, they do not even read it.
    max_decode_bytes : int
        What an image may take in memory while it is decoded, its file included, judged by its header; more is an error row
        (``image_too_large``). By default about 45 megapixels of RGB in PNG, TIFF or BMP, 12 in WebP, 60 in progressive JPEG;
        other JPEGs are decoded at reduced scale and take hardly any.
    content_column : str, optional
        The column with encoded images (binary) or Spark's image struct. Default: ``content``, or the only one that fits.
    uri_column : str, optional
        A string column with paths or uris instead: each worker reads the objects itself, many at once, through ``pyarrow.fs``
        (file, s3, hdfs, gs). Absolute, and taken literally as Spark does.
    allow_saturation : bool
        Run an artifact of target ``vnni`` also on CPUs without VNNI, whose 16-bit sums saturate: predictions may be wrong.
    same_everywhere : bool
        With ``auto``: all nodes are measured before the job, and run the same engine and batch size.
    """

    engine: str | None = None
    batch_size: int | str = 16
    top_k: int = 5
    max_image_pixels: int = DEFAULT_MAX_IMAGE_PIXELS
    max_image_bytes: int = DEFAULT_MAX_IMAGE_BYTES
    max_decode_bytes: int = DEFAULT_MAX_DECODE_BYTES
    content_column: str | None = None
    uri_column: str | None = None
    allow_saturation: bool = False
    same_everywhere: bool = False

    def __post_init__(self) -> None:
        if self.engine is not None:
            check_choice("engine", self.engine, (*ENGINE_NAMES, AUTO))
        if self.batch_size != AUTO:
            check_positive("batch_size", self.batch_size)
        if self.same_everywhere and AUTO not in (self.engine, self.batch_size):
            raise ConfigError("same_everywhere: expected engine auto or batch_size auto; got neither.")
        check_positive("top_k", self.top_k)
        for name in ("max_image_pixels", "max_image_bytes", "max_decode_bytes"):
            check_positive(name, getattr(self, name))
        if self.content_column is not None and self.uri_column is not None:
            raise ConfigError(
                f"uri_column: expected content_column or uri_column; got both ({self.content_column!r} and {self.uri_column!r}).",
                hint="content_column holds the images themselves, uri_column says where they are.",
            )
