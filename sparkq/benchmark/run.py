"""A benchmark runs its parts in their order and collects them in one mapping of plain JSON values."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sparkq.artifact.file import ModelArtifact
from sparkq.benchmark.cold_start import measure_cold_start
from sparkq.benchmark.engines import EAGER, EngineRow, fastest_int8, measure_engines
from sparkq.benchmark.job import DELAYED, PEERS, PLAIN, SPARKQ, JobRow, Jobs, measure_jobs
from sparkq.benchmark.machine import describe_machine
from sparkq.benchmark.pipeline import measure_pipeline, preprocessed
from sparkq.benchmark.plan import Plan
from sparkq.benchmark.prices import cost_rows
from sparkq.benchmark.scaling import measure_scale, steps_of_cores
from sparkq.benchmark.subject import Subject
from sparkq.engines.load import absent_engines
from sparkq.engines.registry import spec_of
from sparkq.redaction import get_logger
from sparkq.spark.benchmark.job_process import JobRequest
from sparkq.worker.fitting import engine_for, engines_for

__all__ = ["run_benchmark"]

_logger = get_logger(__name__)
_SAMPLE = 64


def run_benchmark(plan: Plan, subject: Subject, files: Sequence[Path], work: Path) -> dict[str, Any]:
    """Measure every part of `plan`. On the driver.

    Parameters
    ----------
    plan : Plan
        The parts to measure, and how often.
    subject : Subject
        The model.
    files : sequence of Path
        Images.
    work : Path
        A folder for artifacts, links and outputs.
    """
    contents = [path.read_bytes() for path in files[:_SAMPLE]]
    result: dict[str, Any] = {"machine": describe_machine(), "model": _model(subject), "input": _input(files)}
    rows = _engine_rows(plan, subject, preprocessed(contents, subject.preprocess))
    artifact = subject.int8 or subject.floating
    assert artifact is not None
    engine = engine_for(artifact, plan.engine or fastest_int8(rows, plan.batch_size))
    result |= {"engine": engine, "batch_size": plan.batch_size, "cores": plan.cores, "notes": list(subject.notes)}
    if "engine" in plan.parts:
        result["engines"] = [asdict(row) for row in rows]
        result["cold_starts"] = _cold_starts(plan, subject, rows, work)
    speeds = {f"{row.engine}, batch {row.batch_size}": row.images_per_second.median for row in rows if row.images_per_second}
    if plan.profile or {"pipeline", "job", "scale"} & set(plan.parts):
        jobs = _jobs(plan, subject, artifact, engine, files, work)
        job_rows = _job_parts(plan, subject, artifact, engine, contents, jobs, result)
        # The whole job counts, where it was measured.
        speeds = {
            row.variant: row.images_per_second.median / plan.cores for row in job_rows
            if row.images_per_second and row.variant in (SPARKQ, *PEERS)
        } or speeds
    if "cost" in plan.parts and plan.prices is not None:
        costs = cost_rows(plan.prices, speeds, own=SPARKQ if SPARKQ in speeds else None)
        result["costs"] = {
            "currency": plan.prices.currency, "source": plan.prices.source, "rows": [asdict(row) for row in costs],
        }
    return result


def _engine_rows(plan: Plan, subject: Subject, images: npt.NDArray[np.uint8]) -> list[EngineRow]:
    if "engine" in plan.parts:
        batch_sizes, engines = tuple(dict.fromkeys((*plan.batch_sizes, plan.batch_size))), plan.engines
    elif plan.engine is None and subject.int8 is not None:
        # Only to choose one.
        batch_sizes, engines = (plan.batch_size,), engines_for(subject.int8)
    else:
        return []
    _logger.info("benchmark: engines at batch %s, %d rounds", ", ".join(map(str, batch_sizes)), plan.rounds)
    return measure_engines(
        subject, images, batch_sizes=batch_sizes, engines=engines, rounds=plan.rounds, seconds=plan.seconds,
    )


def _cold_starts(plan: Plan, subject: Subject, rows: list[EngineRow], work: Path) -> list[dict[str, Any]]:
    found = []
    for artifact in (subject.floating, subject.int8):
        if artifact is None:
            continue
        path = _saved(artifact, work)
        for engine in engines_for(artifact):
            if any(row.engine == engine and row.error is None and row.batch_size == plan.batch_size for row in rows):
                _logger.info("benchmark: cold start of %s", engine)
                found.append(asdict(measure_cold_start(path, engine, batch_size=plan.batch_size)))
    return found


def _saved(artifact: ModelArtifact, work: Path) -> str:
    path = work / f"{artifact.digest[:12]}.sparkq"
    artifact.save(str(path))
    return str(path)


def _jobs(plan: Plan, subject: Subject, artifact: ModelArtifact, engine: str, files: Sequence[Path], work: Path) -> Jobs:
    request = JobRequest(
        variant=SPARKQ, artifact=_saved(artifact, work), engine=engine, peer_engine=_peer_engine(artifact, engine),
        batch_size=plan.batch_size, cores=plan.cores, folders=(), output="", started=0.0, float_spec=subject.spec,
        float_weights=subject.weights,
    )
    multiples = (1, 2, 4) if "scale" in plan.parts else (1, 2)
    return Jobs(files, request, images=plan.images, multiples=multiples, work=work, cores=plan.cores)


def _job_parts(
    plan: Plan, subject: Subject, artifact: ModelArtifact, engine: str, contents: list[bytes], jobs: Jobs, result: dict[str, Any],
) -> list[JobRow]:
    rows: list[JobRow] = []
    if "job" in plan.parts:
        variants = _variants(subject, artifact, engine)
        _logger.info("benchmark: jobs of %s, %d rounds", ", ".join(variants), plan.job_rounds)
        rows = measure_jobs(jobs, variants, cores=plan.cores, rounds=plan.job_rounds)
        if subject.spec is None:
            rows.append(JobRow(PEERS[1], EAGER, "the float model is not known: give --float-model"))
        result["jobs"] = [asdict(row) for row in rows]
    if "pipeline" in plan.parts:
        _logger.info("benchmark: pipeline")
        stages = measure_pipeline(
            artifact, contents, jobs, engine=engine, batch_size=plan.batch_size, rounds=plan.job_rounds,
        )
        result["pipeline"] = [asdict(stage) for stage in stages]
    if "scale" in plan.parts:
        steps = steps_of_cores(plan.cores)
        _logger.info("benchmark: scale over %s cores", ", ".join(map(str, steps)))
        result["scale"] = [asdict(row) for row in measure_scale(jobs, cores=steps, rounds=plan.job_rounds)]
    if plan.profile is not None:
        _logger.info("benchmark: profile")
        result["profile"] = {"folder": plan.profile, "files": jobs.profile(plan.profile, plan.cores)}
    return rows


def _variants(subject: Subject, artifact: ModelArtifact, engine: str) -> dict[str, str]:
    variants = {SPARKQ: engine, DELAYED: engine, PLAIN: engine, PEERS[0]: _peer_engine(artifact, engine)}
    return variants if subject.spec is None else {**variants, PEERS[1]: EAGER}


def _peer_engine(artifact: ModelArtifact, engine: str) -> str:
    """Return the engine of a job written by hand: one with a package of its own that is installed, else sparkq's."""
    absent = absent_engines()
    packaged = (name for name in engines_for(artifact) if spec_of(name).package is not None and name not in absent)
    return next(packaged, engine)


def _model(subject: Subject) -> dict[str, Any]:
    height, width = subject.preprocess.input_size
    return {
        "name": subject.name, "input_size": [height, width], "source": subject.spec,
        "int8_digest": None if subject.int8 is None else subject.int8.digest,
        "int8_macs_percent": None if subject.int8 is None else subject.int8.manifest.int8_macs_percent,
    }


def _input(files: Sequence[Path]) -> dict[str, Any]:
    return {"files": len(files), "mean_bytes": round(sum(path.stat().st_size for path in files) / len(files))}
