"""``sparkq doctor`` prints what the executors are, and whether they run a model rightly."""
from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from sparkq.cli.command import Command
from sparkq.config import EngineConfig, SessionOptions, check_choice
from sparkq.config.parsing import path_field
from sparkq.engines.registry import ENGINE_NAMES
from sparkq.errors import ConfigError, EngineError, SparkqError
from sparkq.storage import shown

__all__ = ["COMMAND", "DoctorOptions"]


@dataclass(frozen=True, kw_only=True)
class DoctorOptions(EngineConfig, SessionOptions):
    """Options of ``sparkq doctor``.

    Parameters
    ----------
    model : str, optional
        Artifact, path or uri: every executor loads it and runs its golden input.
    engine : str, optional
        The engine that the job will run; default: the first that fits the model.
    """

    model: str | None = path_field(default=None)

    def __post_init__(self) -> None:
        if self.engine is not None:
            check_choice("engine", self.engine, ENGINE_NAMES)
            if self.model is None:
                raise ConfigError("engine: expected a model to run on it; got none.", hint="--model FILE.sparkq.")


def _run(options: DoctorOptions) -> dict[str, Any]:
    from sparkq.artifact.file import ModelArtifact
    from sparkq.planning.cluster import asked_executors
    from sparkq.spark.cluster.doctor import examine_executors
    from sparkq.spark.cluster.executors import registered_executors, settings_of
    from sparkq.spark.session.session import session_for
    from sparkq.worker.node_report import mixed_instruction_sets

    artifact = None if options.model is None else ModelArtifact.load(options.model)
    with session_for(options.master) as spark:
        context = spark.sparkContext
        answers = examine_executors(context, artifact, engine=options.engine, allow_saturation=options.allow_saturation)
        expected = max(registered_executors(context), asked_executors(settings_of(context)))
    mixed = mixed_instruction_sets([answer.result for answer in answers])
    warnings = [] if mixed is None else [mixed]
    if len(answers) < expected:
        warnings.append(f"only {len(answers)} of {expected} executors answered: the rest did not start, or other jobs hold them")
    return {
        "model": None if options.model is None else shown(options.model),
        "executors": [{"executor": answer.executor, **dataclasses.asdict(answer.result)} for answer in answers],
        "expected": expected,
        "warnings": warnings,
    }


def _show(result: dict[str, Any]) -> str:
    from sparkq.worker.node_report import isa_of

    header = f"{'host':24} {'instruction sets':28} {'cores':>5} {'torch':14} {'load':>7} {'golden':>8}  engines"
    lines = [header]
    for row in result["executors"]:
        load = "-" if row["load_seconds"] is None else f"{row['load_seconds']:.2f} s"
        golden = "-" if row["golden_db"] is None else f"{row['golden_db']:.1f} dB"
        lines += [
            f"{row['host']:24} {isa_of(row['isa']):28} {row['cores']:5} {row['torch']:14} {load:>7} {golden:>8}  "
            f"{', '.join(row['engines']) or 'none'}",
            f"    {row['cpu']}",
        ]
        lines += [f"    {name}={value}" for name, value in row["environment"].items()]
        lines += [f"    no {name}: {reason}" for name, reason in row["refused"].items()]
    return "\n".join([*lines, *(f"warning: {warning}" for warning in result["warnings"])])


def _failure(result: dict[str, Any]) -> SparkqError | None:
    failed = [row for row in result["executors"] if row["failure"] is not None]
    if not failed:
        return None
    return EngineError(
        f"doctor: expected every executor to run the job; {len(failed)} of {len(result['executors'])} do not: "
        f"{failed[0]['failure']}",
        hint="take those nodes out of the cluster, or choose another engine.",
    )


COMMAND = Command(
    DoctorOptions, _run, _show,
    summary="Run a small task on every executor, and print what they are and whether they run a model rightly.",
    example="sparkq doctor --model model.sparkq", failure=_failure,
)
