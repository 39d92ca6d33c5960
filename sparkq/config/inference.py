"""Settings of inference over images."""
from __future__ import annotations

from dataclasses import dataclass

from sparkq.config.checks import check_choice, check_positive
from sparkq.config.limits import DecodeLimits
from sparkq.config.parsing import part_of
from sparkq.engines.registry import ENGINE_NAMES
from sparkq.errors import ConfigError

__all__ = ["AUTO", "EngineConfig", "ExecutionConfig", "InferenceConfig"]

AUTO = "auto"
"""Engine or batch size that each node finds by measurement."""


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """The engine that runs an artifact, and whether it may saturate.

    Parameters
    ----------
    engine : str, optional
        The program that runs the model; default: the first that fits it. auto: the fastest, measured when the job starts, on
        each node for itself; sparkq evaluate takes one for all nodes.
    allow_saturation : bool
        Run an artifact of target vnni also on CPUs without VNNI, whose 16-bit sums saturate: predictions may be wrong.
    """

    engine: str | None = None
    allow_saturation: bool = False

    def __post_init__(self) -> None:
        if self.engine is not None:
            check_choice("engine", self.engine, (*ENGINE_NAMES, AUTO))


@dataclass(frozen=True, kw_only=True)
class ExecutionConfig(EngineConfig, DecodeLimits):
    """How an artifact reads and runs images, whatever becomes of its outputs.

    Parameters
    ----------
    batch_size : int or str
        Images a forward pass. auto: the smallest within 3 % of the fastest; with layers in float it is the default, because
        their predictions are the same at one batch size only.
    content_column : str, optional
        The column with the images, encoded (binary) or as Spark's image struct. Default: content, or the only one that fits.
    """

    batch_size: int | str = 16
    content_column: str | None = None

    def __post_init__(self) -> None:
        EngineConfig.__post_init__(self)
        DecodeLimits.__post_init__(self)
        if self.batch_size != AUTO:
            check_positive("batch_size", self.batch_size)

    @property
    def limits(self) -> DecodeLimits:
        """The decode limits alone."""
        return part_of(DecodeLimits, self)


@dataclass(frozen=True, kw_only=True)
class InferenceConfig(ExecutionConfig):
    """How an artifact predicts an image DataFrame.

    It has the options of `EngineConfig` (``engine``, ``allow_saturation``), `ExecutionConfig` (``batch_size``,
    ``content_column``) and `DecodeLimits` (``max_image_pixels``, ``max_image_bytes``, ``max_decode_bytes``,
    ``max_decode_seconds``), too.

    Parameters
    ----------
    top_k : int
        Length of the top_k column; at most the number of classes.
    uri_column : str, optional
        A string column with paths or uris of the images: each worker reads the objects itself, many at once, through pyarrow.fs
        (file, s3, hdfs, gs). Absolute, and taken literally as Spark does. In a job it needs input format uri, which finds the
        only column that fits by itself.
    same_everywhere : bool
        With auto: all nodes are measured before the job, and run the same engine and batch size.
    """

    top_k: int = 5
    uri_column: str | None = None
    same_everywhere: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.same_everywhere and AUTO not in (self.engine, self.batch_size):
            raise ConfigError("same_everywhere: expected engine auto or batch_size auto; got neither.")
        check_positive("top_k", self.top_k)
        if self.content_column is not None and self.uri_column is not None:
            raise ConfigError(
                f"uri_column: expected content_column or uri_column; got both ({self.content_column!r} and {self.uri_column!r}).",
                hint="content_column holds the images themselves, uri_column says where they are.",
            )
