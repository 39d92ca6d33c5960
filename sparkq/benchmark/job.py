"""Whole jobs, from image files to Parquet, are measured round after round, each variant in processes of its own."""
from __future__ import annotations

import dataclasses
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sparkq.benchmark.photos import linked_folder
from sparkq.benchmark.timing import Spread, interleaved, linear_fit, ratio_of, spread_of
from sparkq.config.parsing import parse_config
from sparkq.errors import EngineError, SparkqError
from sparkq.spark.benchmark.job_process import JobRequest, JobTimes

__all__ = ["DELAYED", "PEERS", "PLAIN", "SPARKQ", "JobRow", "Jobs", "marginal_speed", "measure_jobs", "run_in_process"]

SPARKQ = "sparkq"
PEERS = ("mapInArrow", "predict_batch_udf")
PLAIN = "plain_loop"
"""The same decoder and engine in as many processes, without Spark."""
DELAYED = "sparkq_50ms_reads"
"""The same job as `SPARKQ`, with so much latency before every read."""

_MODULES = {PLAIN: "sparkq.benchmark.plain_loop"}
_SPARK_MODULE = "sparkq.spark.benchmark.job_process"
_SMALL_IMAGES_PER_CORE = 2
_TIMEOUT_SECONDS = 3600


@dataclass(frozen=True)
class JobRow:
    """The speed of one variant of the job on ``local[cores]``.

    Parameters
    ----------
    variant : str
        ``sparkq``, `DELAYED`, `PLAIN` or a peer.
    runs : str
        The engine that it runs the model with.
    error : str, optional
        Why it did not run; all figures are None then.
    images_per_second : Spread, optional
        Marginal speed: 1 over the slope of seconds over images, least squares, once the workers are warm.
    ratio : Spread, optional
        Marginal images per second of sparkq over this variant's, round by round.
    start_seconds, cold_seconds, job_seconds : Spread, optional
        Fixed times: until there is a session; by which the first job took longer than the same job later (workers start, the
        model is loaded); of a job of hardly any images in warm workers.
    """

    variant: str
    runs: str
    error: str | None = None
    images_per_second: Spread | None = None
    ratio: Spread | None = None
    start_seconds: Spread | None = None
    cold_seconds: Spread | None = None
    job_seconds: Spread | None = None


class Jobs:
    """A runner of variants in fresh processes; parts of the benchmark that need the same run share it.

    Parameters
    ----------
    files : sequence of Path
        Images, used again and again where a job needs more.
    request : JobRequest
        The settings common to all: artifact, engine, batch size, float model. Folders, cores and output are filled in here.
    images : int
        Images of a job of size 1x.
    multiples : tuple of int
        Sizes of the measured jobs, in units of `images`.
    work : Path
        A folder for links, outputs and logs.
    """

    def __init__(
        self, files: Sequence[Path], request: JobRequest, *, images: int, multiples: tuple[int, ...], work: Path, cores: int,
    ) -> None:
        self._request = request
        self._work = work
        self._times: dict[tuple[str, int, int], JobTimes] = {}
        sizes = [images, _SMALL_IMAGES_PER_CORE * cores, *(images * multiple for multiple in multiples if multiple > 1)]
        self._folders = tuple(str(linked_folder(list(files), size, work / f"images-{size}")) for size in sizes)

    def times(self, variant: str, cores: int, number: int) -> JobTimes:
        """Return the times of a variant in round `number`: of a job of size 1x, of hardly any images, and of the larger ones.

        Raises
        ------
        EngineError
            If the process failed.
        """
        key = (variant, cores, number)
        if key not in self._times:
            self._times[key] = self._run(variant, cores, number)
        return self._times[key]

    def profile(self, folder: str, cores: int) -> list[str]:
        """Run sparkq under profilers, and return the names of the files that its workers wrote into `folder`.

        Raises
        ------
        EngineError
            If the process failed.
        """
        self._request = dataclasses.replace(self._request, profile=str(Path(folder).absolute()))
        self._run("profiled", cores, 0)
        return sorted(path.name for path in Path(folder).glob("worker-*"))

    def _run(self, variant: str, cores: int, number: int) -> JobTimes:
        place = self._work / f"{variant}-{cores}-{number}"
        place.mkdir()
        folders = self._folders[:1] if variant == "profiled" else self._folders
        request = dataclasses.replace(
            self._request, variant=variant, cores=cores, folders=folders, output=str(place / "output"), started=time.time(),
        )
        return run_in_process(request, place)


def run_in_process(request: JobRequest, place: Path) -> JobTimes:
    """Run a job in a fresh process; `place` is a folder for its request, its times and its log.

    Raises
    ------
    EngineError
        If the process failed.
    """
    module = _MODULES.get(request.variant, _SPARK_MODULE)
    (place / "request.json").write_text(json.dumps(dataclasses.asdict(request)))
    command = [sys.executable, "-m", module, str(place / "request.json"), str(place / "result.json")]
    # The process starts a JVM of its own also where spark-submit gave this one a JVM to talk to.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYSPARK_GATEWAY_")}
    with (place / "log").open("w") as log:
        done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, env=environment, timeout=_TIMEOUT_SECONDS)
    if done.returncode:
        raise EngineError(
            f"job {request.variant} on local[{request.cores}]: expected it to finish; got {_cause(place / 'log')}.",
            hint="run `sparkq predict` on the same images: it says more.",
        )
    return parse_config(JobTimes, json.loads((place / "result.json").read_text()), place=f"job {request.variant}")


def _cause(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if "Error" in line and not line.startswith(("at ", "File "))]
    return (errors or lines or ["no output"])[-1][:300].rstrip(".")


def measure_jobs(jobs: Jobs, variants: dict[str, str], *, cores: int, rounds: int) -> list[JobRow]:
    """Measure sparkq against its peers.

    Parameters
    ----------
    jobs : Jobs
        The runner of the variants.
    variants : dict of str to str
        Each variant, and the engine that it runs the model with.
    cores, rounds : int
        N of ``local[N]``; how often each variant is started.
    """
    errors: dict[str, str] = {}

    def run(variant: str, number: int) -> JobTimes | None:
        if variant in errors:
            return None
        try:
            return jobs.times(variant, cores, number)
        except SparkqError as error:
            errors[variant] = error.message
            return None

    found = interleaved({variant: partial(run, variant) for variant in variants}, rounds=rounds)
    whole = {variant: [times for times in runs if times is not None] for variant, runs in found.items() if variant not in errors}
    speeds = {variant: [marginal_speed(times) for times in runs] for variant, runs in whole.items()}
    return [
        JobRow(variant, runs, errors[variant]) if variant in errors else _row(
            variant, runs, whole[variant], speeds[variant], speeds.get(SPARKQ),
        )
        for variant, runs in variants.items()
    ]


def marginal_speed(times: JobTimes) -> float:
    """Return the images per second of each further image; NaN where larger jobs took no longer, so that they were too small."""
    marginal = linear_fit(times.images, times.seconds).marginal
    return 1 / marginal if marginal > 0 else math.nan


def _row(variant: str, runs: str, times: list[JobTimes], speed: list[float], sparkq: list[float] | None) -> JobRow:
    return JobRow(
        variant, runs, None, spread_of(speed), None if sparkq is None else ratio_of(sparkq, speed),
        spread_of([one.start_seconds for one in times]),
        spread_of([one.cold_seconds - one.seconds[0] for one in times]),
        spread_of([one.seconds[1] for one in times]),
    )
