"""``sparkq benchmark`` measures engines, pipeline, jobs, scale and cost of one model in one command."""
from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparkq.benchmark.plan import PARTS, Plan
from sparkq.benchmark.prices import read_prices
from sparkq.cli.command import Command
from sparkq.config import PreprocessOverrides, check_choice
from sparkq.config.checks import check_positive
from sparkq.config.parsing import path_field, spec_field
from sparkq.engines.registry import ENGINE_NAMES
from sparkq.errors import ConfigError
from sparkq.storage import write_file

__all__ = ["COMMAND", "BenchmarkOptions"]

_CALIBRATION_IMAGES = 8


@dataclass(frozen=True)
class BenchmarkOptions:
    """Options of ``sparkq benchmark``.

    Parameters
    ----------
    model : str
        Artifact FILE.sparkq (local), or a float model as in sparkq quantize, e.g. torchvision:resnet50.
    model_sha256 : str, optional
        The sha256 that an artifact's file must have, as sha256sum prints it.
    weights : str, optional
        Weights of the float model; without them torchvision and timm models get random ones, which are as fast.
    float_model : str, optional
        The float model of an artifact, for comparison.
    preprocess : PreprocessOverrides
        For a float model, over what it was published with, or over ImageNet's; an artifact brings its own.
    input : str, optional
        Local folder with images; default: photographs made of the two in scikit-learn.
    calibration_input : str, optional
        Local folder with calibration images for a float model; default: those of input.
    parts : str or list
        Which of engine, pipeline, job, scale, cost; with commas, default all.
    batch_sizes : int or list
        Of part engine; with commas.
    engines : str or list, optional
        Only these in part engine; with commas.
    engine : str, optional
        The engine of pipeline and jobs; default: the fastest INT8 engine that was measured.
    batch_size : int
        Images a forward pass in pipeline and jobs.
    images : int
        Images of the smallest measured job; others are 2 and 4 times as large.
    cores : int, optional
        N of local[N]; default: all of this machine.
    rounds : int
        Interleaved rounds of part engine.
    job_rounds : int
        Interleaved rounds of the other parts; each starts a process a variant.
    seconds : float
        How long an engine runs in a round.
    prices : str, optional
        YAML file of instance prices for part cost.
    plot : str, optional
        PNG file to draw.
    profile : str, optional
        Local folder for a torch.profiler trace and a flame graph of every worker.
    output : str, optional
        File for the JSON document, beside the printed table.
    """

    model: str = spec_field()
    model_sha256: str | None = None
    weights: str | None = path_field(default=None)
    float_model: str | None = spec_field(default=None)
    preprocess: PreprocessOverrides = PreprocessOverrides()
    input: str | None = path_field(default=None)
    calibration_input: str | None = path_field(default=None)
    parts: str | tuple[str, ...] = PARTS
    batch_sizes: int | str | tuple[int, ...] = (1, 16)
    engines: str | tuple[str, ...] | None = None
    engine: str | None = None
    batch_size: int = 16
    images: int = 500
    cores: int | None = None
    rounds: int = 5
    job_rounds: int = 3
    seconds: float = 1.0
    prices: str | None = path_field(default=None)
    plot: str | None = path_field(default=None)
    profile: str | None = path_field(default=None)
    output: str | None = path_field(default=None)

    def __post_init__(self) -> None:
        for name, choices in (("parts", PARTS), ("engines", ENGINE_NAMES)):
            for value in _listed(getattr(self, name)):
                check_choice(name, value, choices)
        for size in _listed(self.batch_sizes):
            check_positive("batch_sizes", int(size) if str(size).isdecimal() else size)
        if self.model_sha256 is not None and not self.model.endswith(".sparkq"):
            raise ConfigError(f"model_sha256: expected an artifact that has it; got the float model {self.model}.")
        if self.engine is not None:
            check_choice("engine", self.engine, ENGINE_NAMES)
        for name in ("batch_size", "images", "rounds", "job_rounds"):
            check_positive(name, getattr(self, name))
        if self.cores is not None:
            check_positive("cores", self.cores)
        if not self.seconds > 0:
            raise ConfigError(f"seconds: expected more than 0; got {self.seconds!r}.")
        if self.plot is not None and not {"engine", "pipeline", "job"} & set(_listed(self.parts)):
            raise ConfigError("plot: expected part engine, pipeline or job; got none of them.", hint="add one to --parts.")
        if "cost" in _listed(self.parts) and self.prices is None and self.parts != PARTS:
            raise ConfigError("prices: expected a file for part cost; got none.", hint="--prices conf/prices.yaml is a sample.")

    def plan(self) -> Plan:
        """Return the plan that these options ask for; reads the prices."""
        from sparkq.engines.node import available_cores

        return Plan(
            parts=tuple(map(str, _listed(self.parts))), batch_sizes=tuple(int(size) for size in _listed(self.batch_sizes)),
            engines=None if self.engines is None else tuple(map(str, _listed(self.engines))), engine=self.engine,
            batch_size=self.batch_size, images=self.images, cores=self.cores or available_cores(), rounds=self.rounds,
            job_rounds=self.job_rounds, seconds=self.seconds, profile=self.profile,
            prices=None if self.prices is None else read_prices(self.prices),
        )


def _listed(value: Any) -> tuple[Any, ...]:
    """Return several values of a list, of one value, or of text with commas, which is how an option gives several."""
    if value is None:
        return ()
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(","))
    return value if isinstance(value, tuple) else (value,)


def _run(options: BenchmarkOptions) -> dict[str, Any]:
    from sparkq.benchmark.photos import image_files, write_photos
    from sparkq.benchmark.plot import plot_benchmark, require_matplotlib
    from sparkq.benchmark.run import run_benchmark
    from sparkq.benchmark.subject import load_subject
    from sparkq.benchmark.table import benchmark_table
    from sparkq.spark.benchmark.profiling import require_pyinstrument

    plan = options.plan()
    if options.plot is not None:
        require_matplotlib()
    if options.profile is not None:
        require_pyinstrument()
    with tempfile.TemporaryDirectory(prefix="sparkq-benchmark-") as work:
        folder = options.input
        if folder is None:
            folder = f"{work}/photos"
            write_photos(Path(folder))
        files = image_files(folder)
        chosen = files if options.calibration_input is None else image_files(options.calibration_input)
        subject = load_subject(
            options.model, weights=options.weights, float_model=options.float_model, preprocess=options.preprocess,
            calibration=[path.read_bytes() for path in chosen[:_CALIBRATION_IMAGES]], sha256=options.model_sha256,
        )
        result = run_benchmark(plan, subject, files, Path(work))
    if options.plot is not None:
        plot_benchmark(result, options.plot)
    if options.output is not None:
        write_file(options.output, json.dumps(result, indent=1).encode(), what="benchmark")
    return {**result, "table": benchmark_table(result)}


COMMAND = Command(
    BenchmarkOptions, _run, lambda result: str(result["table"]),
    summary="Measure engines, pipeline, whole jobs, scale and cost of a model on this machine, all as ratios.",
    example="sparkq benchmark --model torchvision:resnet50 --prices conf/prices.yaml --plot benchmark.png",
)
