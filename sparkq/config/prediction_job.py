"""`PredictionJob`: images in, one run of an output out."""
from __future__ import annotations

from dataclasses import dataclass

from sparkq.config.checks import check_run_id, check_share
from sparkq.config.inference_job import InferenceJob
from sparkq.config.parsing import path_field
from sparkq.errors import ConfigError

__all__ = ["PredictionJob"]


@dataclass(frozen=True, kw_only=True)
class PredictionJob(InferenceJob):
    """A job that predicts every image of an input and commits the rows as one run.

    It has the options of `InferenceJob` (``model``, ``input``, ``glob``, ``input_format``, ``read``) and of
    `sparkq.InferenceConfig` (``engine``, ``batch_size``, ``top_k``, limits, columns), too.

    Parameters
    ----------
    output : str
        Folder of runs: this one goes to OUTPUT/run_id=ID/, and is there once OUTPUT/_sparkq/ID.json is.
    run_id : str, optional
        The same id is the same run: if it is committed already, nothing is done; default: a new one.
    resume : bool
        Leave out images (path, length, modificationTime) that a committed run in output has predicted with this model and
        preprocessing. Those that could not be read are tried again, and those that were too large for a smaller limit.
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
    drift_sample : float
        Share of the images, 0 to 1, that is compared with the calibration images beforehand, e.g. 0.01; 0 compares none.
    """

    output: str = path_field()
    run_id: str | None = None
    resume: bool = False
    max_error_rate: float = 0.01
    quarantine: str | None = path_field(default=None)
    quarantine_bytes: bool = False
    partition_by: str | tuple[str, ...] = ()
    overwrite: bool = False
    drift_sample: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share("drift_sample", self.drift_sample)
        check_share("max_error_rate", self.max_error_rate)
        if self.run_id is not None:
            check_run_id(self.run_id)
        if self.quarantine_bytes and self.quarantine is None:
            raise ConfigError("quarantine_bytes: expected quarantine, the folder to write to; got none.")
        if self.overwrite and self.resume:
            raise ConfigError("overwrite: expected it without resume, which leaves out what earlier runs have; got both.")

    @property
    def partition_columns(self) -> tuple[str, ...]:
        """`partition_by` as names."""
        return (self.partition_by,) if isinstance(self.partition_by, str) else tuple(self.partition_by)
