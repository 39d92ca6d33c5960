"""The options that say which artifact runs over which images: the part that several commands share."""
from __future__ import annotations

from dataclasses import dataclass

from sparkq.config.checks import check_choice
from sparkq.config.inference import InferenceConfig
from sparkq.config.parsing import part_of, path_field
from sparkq.errors import ConfigError

__all__ = ["INPUT_FORMATS", "READS", "InferenceJob", "ModelAndImages"]

INPUT_FORMATS = ("auto", "images", "parquet", "uri")
READS = ("auto", "workers", "spark")


@dataclass(frozen=True, kw_only=True)
class ModelAndImages:
    """An artifact, and images in a folder or a table.

    Parameters
    ----------
    model : str
        Artifact, path or uri.
    input : str
        Directory of images (searched recursively), one image, or Parquet with a binary column.
    glob : str, optional
        Only files whose name matches, e.g. *.jpg; without it every file counts as an image.
    """

    model: str = path_field()
    input: str = path_field()
    glob: str | None = None


@dataclass(frozen=True, kw_only=True)
class InferenceJob(InferenceConfig, ModelAndImages):
    """An artifact, its input and how the one is run over the other: what ``sparkq predict`` and ``sparkq plan`` both take.

    Parameters
    ----------
    input_format : str
        auto, images, parquet, or uri: the input is a text file with one uri a line, or Parquet with a column of them.
    read : str
        Who opens the files of a directory: workers, spark, or auto (workers, if they can as far as the driver can tell).
    """

    input_format: str = "auto"
    read: str = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("input_format", self.input_format, INPUT_FORMATS)
        check_choice("read", self.read, READS)
        if self.uri_column is not None and self.input_format != "uri":
            raise ConfigError("uri_column: expected input_format uri with it; got another.", hint="--input-format uri.")

    def inference(self) -> InferenceConfig:
        """How the artifact is run, without the rest of the job."""
        return part_of(InferenceConfig, self)
