"""What ``sparkq predict`` is asked to do."""
from __future__ import annotations

from dataclasses import dataclass

from sparkq.config.checks import check_choice, check_run_id, check_share
from sparkq.config.inference import (
    DEFAULT_MAX_DECODE_BYTES,
    DEFAULT_MAX_IMAGE_BYTES,
    DEFAULT_MAX_IMAGE_PIXELS,
    INPUT_FORMATS,
    READS,
    InferenceConfig,
)
from sparkq.config.parsing import path_field
from sparkq.errors import ConfigError

__all__ = ["PredictionJob"]


@dataclass(frozen=True)
class PredictionJob:
    """Images in, one run of an output out.

    Parameters
    ----------
    model : str
        Artifact, path or uri.
    input : str
        Directory of images (searched recursively), one image, Parquet with a binary column, or a list of uris.
    output : str
        Folder of runs: this one goes to OUTPUT/run_id=ID/, and is there once OUTPUT/_sparkq/ID.json is.
    run_id : str, optional
        The same id is the same run: if it is committed already, nothing is done; default: a new one.
    resume : bool
        Leave out images (path, length, modificationTime) that a committed run in output has predicted with this model and
        preprocessing; those that could not be read are tried again.
    max_error_rate : float
        If more than this share of the images fails, 0 to 1, the command ends with 4, after everything is committed.
    quarantine : str, optional
        Folder for the failed rows: QUARANTINE/run_id=ID/ gets path, error_code and error_message as Parquet.
    quarantine_bytes : bool
        With the images' bytes there, too.
    partition_by : str or list
        Columns that become folders below the run's, e.g. label_name or "[shop, label_name]".
    overwrite : bool
        Once this run is committed, delete the other runs in output.
    engine : str, optional
        The engine that runs the model; default: the first that fits it. auto: the fastest on each node,
        measured when the job starts.
    batch_size : int or str
        Images a forward pass; auto: the smallest within 3 % of the fastest.
    same_everywhere : bool
        With auto: one engine and batch size for all nodes.
    top_k : int
        Length of the top_k column.
    content_column : str, optional
        Column with the images, where there are several that could be.
    uri_column : str, optional
        With input format uri: the column with uris, where there are several that could be.
    max_image_pixels : int
        Images with more pixels become error rows.
    max_image_bytes : int
        Files with more bytes become error rows.
    max_decode_bytes : int
        Images whose decoding takes more memory, by their header, become error rows.
    input_format : str
        auto, images, parquet, or uri: a text file with one uri a line, or Parquet with a column of them.
    read : str
        Who opens the files of a directory: workers, spark, or auto (workers, if they can as far as the driver can tell).
    glob : str, optional
        Only files whose name matches, e.g. *.jpg; without it every file counts as an image.
    drift_sample : float
        Share of the images, 0 to 1, that is compared with the calibration images beforehand, e.g. 0.01; 0 compares none.
    allow_saturation : bool
        Run an artifact of target vnni also on CPUs without VNNI: predictions may be wrong.
    """

    model: str = path_field()
    input: str = path_field()
    output: str = path_field()
    run_id: str | None = None
    resume: bool = False
    max_error_rate: float = 0.01
    quarantine: str | None = path_field(default=None)
    quarantine_bytes: bool = False
    partition_by: str | tuple[str, ...] = ()
    overwrite: bool = False
    engine: str | None = None
    batch_size: int | str = 16
    same_everywhere: bool = False
    top_k: int = 5
    content_column: str | None = None
    uri_column: str | None = None
    max_image_pixels: int = DEFAULT_MAX_IMAGE_PIXELS
    max_image_bytes: int = DEFAULT_MAX_IMAGE_BYTES
    max_decode_bytes: int = DEFAULT_MAX_DECODE_BYTES
    input_format: str = "auto"
    read: str = "auto"
    glob: str | None = None
    drift_sample: float = 0.0
    allow_saturation: bool = False

    def __post_init__(self) -> None:
        check_choice("input_format", self.input_format, INPUT_FORMATS)
        check_choice("read", self.read, READS)
        if self.uri_column is not None and self.input_format != "uri":
            raise ConfigError("uri_column: expected input_format uri with it; got another.", hint="--input-format uri.")
        check_share("drift_sample", self.drift_sample)
        check_share("max_error_rate", self.max_error_rate)
        self.inference()
        if self.run_id is not None:
            check_run_id(self.run_id)
        if self.quarantine_bytes and self.quarantine is None:
            raise ConfigError("quarantine_bytes: expected quarantine, the folder to write to; got none.")
        if self.overwrite and self.resume:
            raise ConfigError("overwrite: expected it without resume, which leaves out what earlier runs have; got both.")

    def inference(self) -> InferenceConfig:
        """The part that is about inference, checked."""
        return InferenceConfig(
            engine=self.engine, batch_size=self.batch_size, top_k=self.top_k, max_image_pixels=self.max_image_pixels,
            max_image_bytes=self.max_image_bytes, max_decode_bytes=self.max_decode_bytes, content_column=self.content_column,
            uri_column=self.uri_column, allow_saturation=self.allow_saturation, same_everywhere=self.same_everywhere,
        )

    @property
    def partition_columns(self) -> tuple[str, ...]:
        """`partition_by` as names."""
        return (self.partition_by,) if isinstance(self.partition_by, str) else tuple(self.partition_by)
